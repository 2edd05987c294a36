"""Tables of the other languages: with tens where they combine regularly, else with digits alone.

The words were compared with those of num2words 0.5.14: 0 to 999, of Arabic and Hebrew 0 to 99, of
Japanese, Korean and Thai 0 to 9. Greek and Hindi were compared with the Unicode CLDR
(`common/rbnf`). Forms that people use on the telephone, such as Chinese 幺 and Thai โท, are added.
"""

from vca.kit.spoken_digits.language import Language

POLISH = Language(
    "pl",
    units="zero jeden|jedna|jedno dwa|dwie trzy cztery pięć sześć siedem osiem dziewięć",
    teens="dziesięć jedenaście dwanaście trzynaście czternaście piętnaście szesnaście "
    "siedemnaście osiemnaście dziewiętnaście",
    tens="dwadzieścia trzydzieści czterdzieści pięćdziesiąt sześćdziesiąt siedemdziesiąt "
    "osiemdziesiąt dziewięćdziesiąt",
    hundreds="sto dwieście trzysta czterysta pięćset sześćset siedemset osiemset dziewięćset",
    thousand="tysiąc|tysiące|tysięcy",
    repeats="podwójne|podwójna|dwa_razy potrójne|potrójna|trzy_razy cztery_razy",
    pauses="yyy eee hmm myślnik kreska minus kropka przecinek ukośnik spacja pauza",
    connectives="i potem plus kierunkowy numer to jest więc tak jeszcze raz dalej no dobrze nie",
)
CZECH = Language(
    "cs",
    units="nula jedna|jeden|jedno dva|dvě tři čtyři pět šest sedm|sedum osm|osum devět",
    teens="deset jedenáct dvanáct třináct čtrnáct patnáct šestnáct sedmnáct osmnáct devatenáct",
    tens="dvacet třicet čtyřicet padesát šedesát sedmdesát osmdesát devadesát",
    hundreds="sto dvěstě|dvě_stě třista|tři_sta čtyřista|čtyři_sta pětset|pět_set "
    "šestset|šest_set sedmset|sedm_set osmset|osm_set devětset|devět_set",
    thousand="tisíc|tisíce",
    units_joiner="a",
    repeats="dvakrát|dvojitá|dvojitý třikrát čtyřikrát",
    pauses="ehm hmm no pomlčka spojovník mínus tečka čárka lomítko mezera pauza",
    connectives="a pak potom plus předvolba číslo to je tak ano ještě jednou ne",
)
ROMANIAN = Language(
    "ro",
    units="zero unu|una|un doi|două trei patru cinci șase|şase șapte|şapte opt nouă",
    teens="zece unsprezece|unșpe doisprezece|douăsprezece|doișpe treisprezece|treișpe "
    "paisprezece|paișpe cincisprezece|cinșpe șaisprezece|șaișpe șaptesprezece|șapteșpe "
    "optsprezece|optișpe nouăsprezece|nouășpe",
    tens="douăzeci treizeci patruzeci cincizeci șaizeci șaptezeci optzeci nouăzeci",
    hundred="sută|sute",
    thousand="mie|mii",
    tens_joiner="și|şi",
    repeats="dublu|dublă|de_două_ori triplu|de_trei_ori de_patru_ori",
    pauses="ăă îî hmm liniuță cratimă minus punct virgulă bară spațiu pauză",
    connectives="și apoi plus prefix prefixul numărul este e deci da încă o dată nu",
)
HUNGARIAN = Language(
    "hu",
    units="nulla|zéró egy kettő|két három négy öt hat hét nyolc kilenc",
    teens="tíz tizenegy tizenkettő tizenhárom tizennégy tizenöt tizenhat tizenhét tizennyolc "
    "tizenkilenc",
    tens="húsz|huszon harminc negyven ötven hatvan hetven nyolcvan kilencven",
    ten="tizen",
    hundred="száz",
    thousand="ezer",
    repeats="dupla|kétszer tripla|háromszor négyszer",
    pauses="öö hmm kötőjel mínusz pont vessző perjel szóköz szünet",
    connectives="és aztán majd plusz körzetszám előhívó szám a az ez igen még egyszer nem",
)
TURKISH = Language(
    "tr",
    units="sıfır bir iki üç dört beş altı|alti yedi sekiz dokuz",
    tens="yirmi otuz kırk|kirk elli altmış yetmiş seksen doksan",
    ten="on",
    hundred="yüz",
    thousand="bin",
    repeats="çift|iki_kere|iki_tane üç_kere|üç_tane dört_kere|dört_tane",
    pauses="ıı eee şey tire çizgi eksi nokta virgül eğik boşluk",
    connectives="ve sonra artı alan kodu numara evet tekrar yani tamam hayır",
)
GREEK = Language(
    "el",
    units="μηδέν ένα|ένας|μία|μια δύο|δυο τρία|τρεις τέσσερα|τέσσερις πέντε έξι επτά|εφτά "
    "οκτώ|οχτώ εννέα|εννιά",
    teens="δέκα έντεκα|ένδεκα δώδεκα δεκατρία|δεκατρείς δεκατέσσερα|δεκατέσσερις δεκαπέντε "
    "δεκαέξι|δεκάξι δεκαεπτά|δεκαεφτά δεκαοκτώ|δεκαοχτώ δεκαεννέα|δεκαεννιά",
    tens="είκοσι τριάντα σαράντα πενήντα εξήντα εβδομήντα ογδόντα ενενήντα",
    hundreds="εκατό|εκατόν διακόσια|διακόσιες τριακόσια|τριακόσιες τετρακόσια|τετρακόσιες "
    "πεντακόσια|πεντακόσιες εξακόσια|εξακόσιες επτακόσια|εφτακόσια οκτακόσια|οχτακόσια "
    "εννιακόσια|εννιακόσιες",
    thousand="χίλια|χιλιάδες",
    repeats="διπλό|διπλά|δύο_φορές τριπλό|τρεις_φορές τέσσερις_φορές",
    pauses="εεε εμ χμ παύλα παύση μείον τελεία κόμμα κάθετος κενό",
    connectives="και μετά συν κωδικός αριθμός το είναι λοιπόν ναι ξανά όχι",
)
RUSSIAN = Language(
    "ru",
    units="ноль|нуль один|одна|одно|раз два|две три четыре пять шесть семь восемь девять",
    teens="десять одиннадцать двенадцать тринадцать четырнадцать пятнадцать шестнадцать "
    "семнадцать восемнадцать девятнадцать",
    tens="двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто",
    hundreds="сто двести триста четыреста пятьсот шестьсот семьсот восемьсот девятьсот",
    thousand="тысяча|тысячи|тысяч",
    repeats="дважды|два_раза трижды|три_раза четыре_раза",
    plurals="нуля|нулей|ноля единицы|единиц двойки|двоек тройки|троек четвёрки|четвёрок "
    "пятёрки|пятёрок шестёрки|шестёрок семёрки|семёрок восьмёрки|восьмёрок девятки|девяток",
    pauses="э эм ээ ммм ну тире дефис минус точка запятая слэш пробел черта",
    connectives="и потом затем плюс код города страны номер это так да ещё значит дальше нет",
)
UKRAINIAN = Language(
    "uk",
    units="нуль|ноль один|одна|одне два|дві три чотири п_ять|пять шість сім вісім дев_ять|девять",
    teens="десять одинадцять дванадцять тринадцять чотирнадцять п_ятнадцять|пятнадцять "
    "шістнадцять сімнадцять вісімнадцять дев_ятнадцять|девятнадцять",
    tens="двадцять тридцять сорок п_ятдесят|пятдесят шістдесят сімдесят вісімдесят "
    "дев_яносто|девяносто",
    hundreds="сто двісті триста чотириста п_ятсот|пятсот шістсот сімсот вісімсот "
    "дев_ятсот|девятсот",
    thousand="тисяча|тисячі|тисяч",
    repeats="двічі|два_рази тричі|три_рази чотири_рази",
    pauses="е ем ее ммм ну тире дефіс мінус крапка кома слеш пробіл риска",
    connectives="і й та потім далі плюс код міста країни номер це так ще значить ні",
)
INDONESIAN = Language(
    "id",
    units="nol|kosong satu dua tiga empat lima enam tujuh|tuju delapan|lapan sembilan",
    teens="sepuluh sebelas dua_belas tiga_belas empat_belas lima_belas enam_belas tujuh_belas "
    "delapan_belas sembilan_belas",
    tens="dua_puluh tiga_puluh empat_puluh lima_puluh enam_puluh tujuh_puluh delapan_puluh "
    "sembilan_puluh",
    hundred="ratus|seratus",
    thousand="ribu|seribu",
    repeats="dobel|dua_kali tripel|tiga_kali empat_kali",
    pauses="eh em anu strip garis hubung minus titik koma miring spasi jeda",
    connectives="dan lalu kemudian terus tambah kode area negara nomor itu adalah ya lagi tidak",
)
VIETNAMESE = Language(
    "vi",
    units="không một|mốt hai ba bốn|tư năm|lăm|nhăm sáu bảy|bẩy tám chín",
    tens="hai_mươi ba_mươi bốn_mươi năm_mươi sáu_mươi bảy_mươi tám_mươi chín_mươi",
    ten="mười",
    hundred="trăm",
    thousand="nghìn|ngàn",
    implies_one=False,
    hundreds_joiner="lẻ|linh",
    repeats="hai_lần|đúp ba_lần bốn_lần",
    pauses="ờ à ừm gạch ngang trừ chấm phẩy cách",
    connectives="và rồi sau đó cộng mã vùng số là thì vâng lại dạ",
)
HINDI = Language(
    "hi",
    units="शून्य|ज़ीरो|जीरो|सिफर|ओ एक|वन दो|टू तीन|थ्री|थ्रि चार|फोर|फ़ोर पांच|पाँच|पाच|फाइव|फ़ाइव "
    "छह|छः|छ|छे|सिक्स सात|सेवन|सेवेन आठ|एट नौ|नाइन",
    teens="दस|टेन ग्यारह बारह तेरह चौदह पंद्रह|पन्द्रह सोलह सत्रह अठारह|अट्ठारह उन्नीस",
    repeats="डबल ट्रिपल क्वाड्रपल",
    pauses="अ अं उम हम्म डैश हाइफ़न माइनस डॉट पॉइंट कॉमा स्लैश",
    connectives="और फिर प्लस कोड नंबर है का एरिया हां हाँ जी उसके बाद नहीं",
)
ARABIC = Language(
    "ar",
    units="صفر|زيرو واحد|واحده اثنان|اثنين|إثنان|إثنين|اتنين|اثنتان ثلاثة|ثلاث|تلاتة|تلاته "
    "أربعة|أربع|اربعه خمسة|خمس ستة|ست سبعة|سبع ثمانية|ثماني|ثمان|تمانية|تمانيه تسعة|تسع",
    teens="عشرة|عشر أحد_عشر|إحدى_عشرة|حداشر اثنا_عشر|اثني_عشر|اطناشر ثلاثة_عشر|تلتاشر "
    "أربعة_عشر|اربعتاشر خمسة_عشر|خمستاشر ستة_عشر|ستاشر سبعة_عشر|سبعتاشر ثمانية_عشر|تمنتاشر "
    "تسعة_عشر|تسعتاشر",
    tens="عشرون|عشرين|وعشرون|وعشرين ثلاثون|ثلاثين|وثلاثون|وثلاثين|تلاتين|وتلاتين "
    "أربعون|أربعين|وأربعون|وأربعين خمسون|خمسين|وخمسون|وخمسين ستون|ستين|وستون|وستين "
    "سبعون|سبعين|وسبعون|وسبعين ثمانون|ثمانين|وثمانون|وثمانين|تمانين|وتمانين "
    "تسعون|تسعين|وتسعون|وتسعين",
    units_joiner="و",
    repeats="دبل|مرتين|مكرر تريبل",
    pauses="اه ام امم شرطه ناقص نقطه فاصله",
    connectives="و ثم زائد بلس رمز مفتاح رقم هو هي بعدين بعدها نعم طيب يعني لا",
)
HEBREW = Language(
    "he",
    units="אפס אחת|אחד|ואחת|ואחד שתיים|שתים|שניים|שנים|שתי|ושתיים שלוש|שלושה|ושלוש "
    "ארבע|ארבעה|וארבע חמש|חמישה|וחמש שש|שישה|ושש שבע|שבעה|ושבע שמונה|ושמונה תשע|תשעה|ותשע",
    teens="עשר|עשרה אחת_עשרה|אחד_עשר שתים_עשרה|שתיים_עשרה|שנים_עשר שלוש_עשרה ארבע_עשרה "
    "חמש_עשרה שש_עשרה שבע_עשרה שמונה_עשרה תשע_עשרה",
    tens="עשרים שלושים ארבעים חמישים שישים שבעים שמונים תשעים",
    tens_joiner="ו",
    repeats="כפול|דאבל|פעמיים טריפל",
    pauses="אה אמ המ מקף קו מינוס נקודה פסיק רווח",
    connectives="ו ואז אחר כך פלוס קידומת מספר זה הוא כן שוב אז לא",
)
# The words of these languages are written without spaces between them.
JAPANESE = Language(
    "ja",
    units="ゼロ|ぜろ|零|〇|れい|レイ|まる|マル|オー 一|いち|イチ|ワン|壱 二|に|ニ|ツー|弐 "
    "三|さん|サン|スリー|参 四|よん|ヨン|し|フォー 五|ご|ゴ|ファイブ 六|ろく|ロク|シックス "
    "七|なな|ナナ|しち|シチ|セブン 八|はち|ハチ|エイト 九|きゅう|キュウ|キュー|く|ク|ナイン",
    pauses="えー|えーと|えっと|あの|あのー|うーん|エー|ハイフン|はいふん|マイナス|スラッシュ|ー",
    connectives="の|ノ|と|そして|それから|プラス|市外局番|番号|は|です|ね|で|が",
)
CHINESE = Language(
    "zh",
    units="零|〇|洞 一|幺|壹|妖 二|两|兩|貳|贰|俩 三|叁|參 四|肆 五|伍 六|陆|陸 七|柒|拐 八|捌 "
    "九|玖|勾",
    pauses="嗯|呃|啊|额|那个|那個|杠|横杠|橫槓|槓|减|減|点|點|横线|空格",
    connectives="然后|然後|再|和|加|区号|區號|号码|號碼|是|转|轉|的|就是|接着|接著",
)
KOREAN = Language(
    "ko",
    units="공|영|제로|빵 일|하나|원 이|둘|투 삼|셋|쓰리 사|넷|포 오|다섯|파이브 육|륙|여섯|식스 "
    "칠|일곱|세븐 팔|여덟|에잇 구|아홉|나인",
    pauses="음|어|그|저|다시|대시|하이픈|마이너스|점|쉼표",
    connectives="에|의|그리고|플러스|지역번호|국번|번호는|번|은|는|네|예|그다음|다음",
)
THAI = Language(
    "th",
    units="ศูนย์|ศูนย|สูญ หนึ่ง|นึง|เอ็ด สอง|โท สาม สี่ ห้า หก เจ็ด แปด เก้า",
    repeats="สองตัว|ดับเบิล|ดับเบิ้ล สามตัว สี่ตัว",
    pauses="เอ่อ|อ่า|อืม|ขีด|ลบ|จุด|เว้นวรรค",
    connectives="แล้ว|แล้วก็|ก็|และ|บวก|รหัส|พื้นที่|เบอร์|หมายเลข|คือ|ครับ|ค่ะ|ต่อ",
)
SPACED = (
    POLISH,
    CZECH,
    ROMANIAN,
    HUNGARIAN,
    TURKISH,
    GREEK,
    RUSSIAN,
    UKRAINIAN,
    INDONESIAN,
    VIETNAMESE,
    HINDI,
    ARABIC,
    HEBREW,
)
UNSPACED = (JAPANESE, CHINESE, KOREAN, THAI)
