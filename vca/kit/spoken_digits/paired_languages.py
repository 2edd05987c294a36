"""Tables of the languages in which people read telephone numbers in groups, not only in digits.

The words of 0 to 999 were compared with those of num2words 0.5.14. Colloquial and regional words
and spellings without accents, which speech recognition writes, are added.
"""

from vca.kit.spoken_digits.language import Language

ENGLISH = Language(
    "en",
    units="zero|oh|o|nought|naught|nil|null|ow one two three four five|fife six seven eight "
    "nine|niner",
    teens="ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
    tens="twenty thirty forty|fourty fifty sixty seventy eighty ninety",
    hundreds="a_hundred",
    hundred="hundred|hundreds",
    thousand="thousand",
    implies_one=False,
    hundreds_joiner="and",
    repeats="double|dbl triple|treble quadruple",
    plurals="zeros|zeroes|ohs|os|noughts ones twos threes fours fives sixes sevens eights nines",
    pauses="uh um er erm ah eh mm hmm hm mhm dash hyphen minus dot point period comma slash space "
    "underscore pause silence noise laughter breath cough inaudible unintelligible nbsp",
    connectives="well then and plus area code country prefix number numbers is it its s that thats "
    "the a so ok okay yes yeah right again like you know i mean let me see sorry please followed "
    "by next after first last bracket brackets parenthesis parentheses open close now just actually"
    " digits wait no hang hold on second sec moment rest starts begins ends ending with got st "
    "nd rd th my here",
)
# Words that sound like digits, which speech recognition writes instead of them.
ENGLISH_HOMOPHONES = Language(
    "en-homophones",
    units="zeroh won to|too|tu tree|free for|fore hive sicks sevin ate|ait nein|nigh",
)
GERMAN = Language(
    "de",
    units="null eins|ein|eine|einen zwei|zwo drei vier fünf|fuenf sechs sieben acht neun",
    teens="zehn elf zwölf|zwoelf dreizehn vierzehn fünfzehn|fuenfzehn sechzehn siebzehn achtzehn "
    "neunzehn",
    tens="zwanzig dreißig vierzig fünfzig|fuenfzig sechzig siebzig achtzig neunzig",
    hundred="hundert",
    thousand="tausend",
    units_joiner="und",
    hundreds_joiner="und",
    repeats="doppel|doppelt|doppelte|zweimal|zwomal dreimal|dreifach viermal|vierfach",
    plurals="nullen einsen zweien dreien vieren fünfen sechsen siebenen achten neunen",
    pauses="äh ähm hm mh öh strich bindestrich minus punkt komma schrägstrich leerzeichen "
    "unterstrich pause",
    connectives="und dann plus vorwahl ländervorwahl nummer also die der das ist und_dann ja genau "
    "so nochmal noch mal gleich danach klammer auf zu ok okay moment bitte jetzt nein durchwahl",
)
FRENCH = Language(
    "fr",
    units="zéro un|une deux trois quatre cinq six sept huit neuf",
    teens="dix onze douze treize quatorze quinze seize dix_sept dix_huit dix_neuf",
    tens="vingt|vingts trente quarante cinquante soixante "
    "septante quatre_vingt|quatre_vingts|octante|huitante nonante",
    hundred="cent|cents",
    thousand="mille",
    tens_joiner="et",
    hundreds_joiner="et",
    repeats="double|deux_fois triple|trois_fois quadruple|quatre_fois",
    vigesimal=True,
    pauses="euh heu hum hein bah ben tiret point virgule slash barre espace moins souligné pause",
    connectives="et puis ensuite plus indicatif numéro le la les l qu c est alors donc oui voilà "
    "après parenthèse pardon attendez encore fois du pays code là ok bon non",
)
SPANISH = Language(
    "es",
    units="cero uno|un|una dos tres cuatro cinco seis siete ocho nueve",
    teens="diez once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve",
    tens="veinte|veinti treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    ten="diez|dieci",
    hundreds="cien|ciento doscientos|doscientas trescientos|trescientas "
    "cuatrocientos|cuatrocientas quinientos|quinientas seiscientos|seiscientas "
    "setecientos|setecientas ochocientos|ochocientas novecientos|novecientas",
    hundred="cientos|cientas",
    thousand="mil",
    tens_joiner="y",
    repeats="doble|dos_veces triple|tres_veces cuádruple|cuatro_veces",
    plurals="ceros unos doses treses cuatros cincos seises sietes ochos nueves",
    pauses="eh em este mm guion guión punto coma barra espacio menos pausa raya diagonal",
    connectives="y luego después más código de área país prefijo lada número el la es entonces sí "
    "bueno vale perdón otra vez seguido por paréntesis a ver pues ok no ahora",
)
ITALIAN = Language(
    "it",
    units="zero uno|un|una due tre quattro cinque sei sette otto nove",
    teens="dieci undici dodici tredici quattordici quindici sedici diciassette diciotto diciannove",
    tens="venti|vent trenta|trent quaranta|quarant cinquanta|cinquant sessanta|sessant "
    "settanta|settant ottanta|ottant novanta|novant",
    hundred="cento|cent",
    thousand="mille|mila",
    tens_joiner="e",
    hundreds_joiner="e",
    repeats="doppio|doppia|due_volte triplo|tripla|tre_volte quadruplo|quattro_volte",
    pauses="ehm eh uhm mah trattino punto virgola barra spazio meno pausa lineetta",
    connectives="e poi più prefisso numero il lo la è quindi allora sì ancora volte dopo scusi "
    "parentesi aperta chiusa cioè ecco ok no codice di paese",
)
PORTUGUESE = Language(
    "pt",
    units="zero um|uma dois|duas três quatro cinco seis|meia sete oito nove",
    teens="dez onze doze treze quatorze|catorze quinze dezesseis|dezasseis dezessete|dezassete "
    "dezoito dezenove|dezanove",
    tens="vinte trinta quarenta cinquenta|cinqüenta sessenta setenta oitenta noventa",
    hundreds="cem|cento duzentos|duzentas trezentos|trezentas quatrocentos|quatrocentas "
    "quinhentos|quinhentas seiscentos|seiscentas setecentos|setecentas oitocentos|oitocentas "
    "novecentos|novecentas",
    thousand="mil",
    tens_joiner="e",
    hundreds_joiner="e",
    repeats="duplo|dobro|duas_vezes triplo|três_vezes quádruplo|quatro_vezes",
    pauses="hum ah eh é ã traço hífen ponto vírgula barra espaço menos pausa",
    connectives="e então depois mais código de área país ddd indicativo prefixo número o a é aí "
    "sim tá bom desculpe outra vez parêntese ok não agora",
)
DUTCH = Language(
    "nl",
    units="nul een|één twee drie vier vijf zes zeven acht negen",
    teens="tien elf twaalf dertien veertien vijftien zestien zeventien achttien negentien",
    tens="twintig dertig veertig vijftig zestig zeventig tachtig negentig",
    hundred="honderd",
    thousand="duizend",
    units_joiner="en|ën",
    hundreds_joiner="en",
    repeats="dubbel|dubbele|tweemaal|twee_keer driemaal|driedubbel|drie_keer viermaal|vier_keer",
    plurals="nullen enen tweeën drieën vieren vijven zessen zevens achten negens",
    pauses="eh ehm uh hm streepje koppelteken punt komma schuine streep spatie min pauze",
    connectives="en dan plus netnummer landnummer kengetal nummer de het is dus ja nog keer daarna "
    "haakje haakjes oké ok sorry even nee nou",
)
SWEDISH = Language(
    "sv",
    units="noll|nolla ett|en|etta två|tvåa tre|trea fyra|fyrsiffran fem|femma sex|sexa sju|sjua "
    "åtta nio|nia",
    teens="tio elva tolv tretton fjorton femton sexton sjutton arton nitton",
    tens="tjugo|tjugi trettio|tretti fyrtio|förtio|förti|fyrti femtio|femti sextio|sexti "
    "sjuttio|sjutti åttio|åtti nittio|nitti",
    hundred="hundra",
    thousand="tusen",
    hundreds_joiner="och",
    repeats="dubbel|dubbla|dubbelt trippel|tre_gånger fyra_gånger",
    pauses="eh öh hm mm streck bindestreck minus punkt komma snedstreck mellanslag paus",
    connectives="och sen sedan plus riktnummer landsnummer nummer det är så ja då igen okej ok nej",
)
DANISH = Language(
    "da",
    units="nul en|et|ét to tre fire fem seks syv otte ni",
    teens="ti elleve tolv tretten fjorten femten seksten sytten atten nitten",
    tens="tyve tredive fyrre|fyrretyve halvtreds tres|treds halvfjerds firs halvfems",
    hundred="hundrede",
    thousand="tusind|tusinde",
    units_joiner="og",
    hundreds_joiner="og",
    repeats="dobbelt|dobbelte tredobbelt|tre_gange fire_gange",
    pauses="øh øhm hm streg bindestreg minus punktum komma skråstreg mellemrum pause",
    connectives="og så plus områdenummer landekode nummer det er ja igen okay ok derefter nej",
)
NORWEGIAN = Language(
    "nb",
    units="null en|ett|én to tre fire fem seks sju|syv åtte ni",
    teens="ti elleve|ellve tolv tretten fjorten femten seksten sytten atten nitten",
    tens="tjue|tyve tretti|tredve førti femti seksti sytti åtti nitti",
    hundred="hundre",
    thousand="tusen",
    units_joiner="og",
    hundreds_joiner="og",
    repeats="dobbel|dobbelt trippel|tre_ganger fire_ganger",
    pauses="eh øh hm strek bindestrek minus punktum komma skråstrek mellomrom pause",
    connectives="og så pluss retningsnummer landkode nummer det er ja igjen ok deretter nei",
)
FINNISH = Language(
    "fi",
    units="nolla yksi|yks kaksi|kaks kolme|kol neljä|nel viisi|viis kuusi|kuus "
    "seitsemän|seittemän|seiska kahdeksan|kaheksan|kasi yhdeksän|yheksän|ysi",
    teens="kymmenen yksitoista kaksitoista kolmetoista neljätoista viisitoista kuusitoista "
    "seitsemäntoista kahdeksantoista yhdeksäntoista",
    tens="kaksikymmentä|kakskyt kolmekymmentä|kolkyt neljäkymmentä|nelkyt viisikymmentä|viiskyt "
    "kuusikymmentä|kuuskyt seitsemänkymmentä|seitkyt kahdeksankymmentä|kaheksankyt "
    "yhdeksänkymmentä|yheksänkyt",
    hundred="sata|sataa",
    thousand="tuhat|tuhatta",
    repeats="tupla|kaksi_kertaa tripla|kolme_kertaa neljä_kertaa",
    pauses="öö ööm hm viiva väliviiva miinus piste pilkku kauttaviiva väli tauko",
    connectives="ja sitten plus suuntanumero maakoodi numero se on niin joo no uudestaan okei "
    "ok ei",
)
LANGUAGES = (
    ENGLISH,
    ENGLISH_HOMOPHONES,
    GERMAN,
    FRENCH,
    SPANISH,
    ITALIAN,
    PORTUGUESE,
    DUTCH,
    SWEDISH,
    DANISH,
    NORWEGIAN,
    FINNISH,
)
