"""The words between the days and times of opening hours, in each language.

Babel has the names of days, the formats of times and dates, and the word for "and". The rest is
here.
"""

from dataclasses import dataclass

# For days that contain their preposition or case.
_RANGE = "{first} {last}"


@dataclass(frozen=True)
class HoursPhrases:
    """The phrases of one language.

    `day_range` has `{first}` and `{last}`, `time_range` `{start}` and `{end}`, and `opens_next`
    `{time}`. `midnight` is 24:00 as the end of a time range; `stop` ends a sentence. `days_from`
    and `days_to` are the seven days from Monday as the first and the last day of a range, for
    languages that inflect them.
    """

    day_range: str
    time_range: str
    midnight: str
    every_day: str
    closed: str
    around_the_clock: str
    open_now: str
    closed_now: str
    opens_next: str
    colon: str = ": "
    stop: str = ". "
    days_from: str = ""
    days_to: str = ""


PHRASES = {
    "en": HoursPhrases(
        day_range="{first} to {last}",
        time_range="{start} to {end}",
        midnight="midnight",
        every_day="every day",
        closed="closed",
        around_the_clock="open around the clock",
        open_now="Open now",
        closed_now="Closed now",
        opens_next="Opens next: {time}",
    ),
    "de": HoursPhrases(
        day_range="{first} bis {last}",
        time_range="{start} bis {end} Uhr",
        midnight="24:00",
        every_day="täglich",
        closed="geschlossen",
        around_the_clock="rund um die Uhr geöffnet",
        open_now="Jetzt geöffnet",
        closed_now="Jetzt geschlossen",
        opens_next="Öffnet wieder: {time}",
    ),
    "es": HoursPhrases(
        day_range="de {first} a {last}",
        time_range="de {start} a {end}",
        midnight="medianoche",
        every_day="todos los días",
        closed="cerrado",
        around_the_clock="abierto las 24 horas",
        open_now="Ahora está abierto",
        closed_now="Ahora está cerrado",
        opens_next="Próxima apertura: {time}",
    ),
    "fr": HoursPhrases(
        day_range="du {first} au {last}",
        time_range="de {start} à {end}",
        midnight="minuit",
        every_day="tous les jours",
        closed="fermé",
        around_the_clock="ouvert 24 heures sur 24",
        open_now="Ouvert en ce moment",
        closed_now="Fermé en ce moment",
        opens_next="Prochaine ouverture : {time}",
        colon=" : ",
    ),
    "it": HoursPhrases(
        day_range="da {first} a {last}",
        time_range="dalle {start} alle {end}",
        midnight="24:00",
        every_day="tutti i giorni",
        closed="chiuso",
        around_the_clock="aperto 24 ore su 24",
        open_now="Ora è aperto",
        closed_now="Ora è chiuso",
        opens_next="Prossima apertura: {time}",
    ),
    "pt": HoursPhrases(
        day_range="de {first} a {last}",
        time_range="das {start} às {end}",
        midnight="24:00",
        every_day="todos os dias",
        closed="fechado",
        around_the_clock="aberto 24 horas",
        open_now="Aberto agora",
        closed_now="Fechado agora",
        opens_next="Próxima abertura: {time}",
    ),
    "nl": HoursPhrases(
        day_range="{first} tot en met {last}",
        time_range="{start} tot {end} uur",
        midnight="24:00",
        every_day="elke dag",
        closed="gesloten",
        around_the_clock="dag en nacht open",
        open_now="Nu open",
        closed_now="Nu gesloten",
        opens_next="Weer open: {time}",
    ),
    "pl": HoursPhrases(
        day_range="od {first} do {last}",
        time_range="od {start} do {end}",
        midnight="północy",
        every_day="codziennie",
        closed="nieczynne",
        around_the_clock="czynne całą dobę",
        open_now="Teraz otwarte",
        closed_now="Teraz zamknięte",
        opens_next="Następne otwarcie: {time}",
        days_from="poniedziałku, wtorku, środy, czwartku, piątku, soboty, niedzieli",
        days_to="poniedziałku, wtorku, środy, czwartku, piątku, soboty, niedzieli",
    ),
    "sv": HoursPhrases(
        day_range="{first} till {last}",
        time_range="{start} till {end}",
        midnight="midnatt",
        every_day="varje dag",
        closed="stängt",
        around_the_clock="öppet dygnet runt",
        open_now="Öppet nu",
        closed_now="Stängt nu",
        opens_next="Öppnar nästa gång: {time}",
    ),
    "da": HoursPhrases(
        day_range="{first} til {last}",
        time_range="{start} til {end}",
        midnight="midnat",
        every_day="hver dag",
        closed="lukket",
        around_the_clock="døgnåbent",
        open_now="Åbent nu",
        closed_now="Lukket nu",
        opens_next="Åbner næste gang: {time}",
    ),
    "nb": HoursPhrases(
        day_range="{first} til {last}",
        time_range="{start} til {end}",
        midnight="midnatt",
        every_day="hver dag",
        closed="stengt",
        around_the_clock="døgnåpent",
        open_now="Åpent nå",
        closed_now="Stengt nå",
        opens_next="Åpner neste gang: {time}",
    ),
    "fi": HoursPhrases(
        day_range=_RANGE,
        time_range="kello {start}–{end}",
        midnight="24.00",
        every_day="joka päivä",
        closed="suljettu",
        around_the_clock="avoinna ympäri vuorokauden",
        open_now="Nyt avoinna",
        closed_now="Nyt suljettu",
        opens_next="Avataan seuraavan kerran: {time}",
        days_from=(
            "maanantaista, tiistaista, keskiviikosta, torstaista, "
            "perjantaista, lauantaista, sunnuntaista"
        ),
        days_to=(
            "maanantaihin, tiistaihin, keskiviikkoon, torstaihin, "
            "perjantaihin, lauantaihin, sunnuntaihin"
        ),
    ),
    "tr": HoursPhrases(
        day_range="{first} {last} kadar",
        time_range="{start} ile {end} arasında",
        midnight="gece yarısı",
        every_day="her gün",
        closed="kapalı",
        around_the_clock="24 saat açık",
        open_now="Şu anda açık",
        closed_now="Şu anda kapalı",
        opens_next="Sonraki açılış: {time}",
        days_from=(
            "pazartesiden, salıdan, çarşambadan, perşembeden, cumadan, cumartesiden, pazardan"
        ),
        days_to="pazartesiye, salıya, çarşambaya, perşembeye, cumaya, cumartesiye, pazara",
    ),
    "ja": HoursPhrases(
        day_range="{first}から{last}まで",
        time_range="{start}から{end}まで",
        midnight="24:00",
        every_day="毎日",
        closed="休業",
        around_the_clock="24時間営業",
        open_now="現在営業中です",
        closed_now="現在は営業時間外です",
        opens_next="次の営業開始：{time}",
        colon="：",
        stop="。",
    ),
    "ko": HoursPhrases(
        day_range="{first}부터 {last}까지",
        time_range="{start}부터 {end}까지",
        midnight="자정",
        every_day="매일",
        closed="휴무",
        around_the_clock="24시간 영업",
        open_now="지금 영업 중입니다",
        closed_now="지금은 영업시간이 아닙니다",
        opens_next="다음 영업 시작: {time}",
    ),
    "hi": HoursPhrases(
        day_range="{first} से {last} तक",
        time_range="{start} से {end} तक",
        midnight="आधी रात",
        every_day="हर दिन",
        closed="बंद",
        around_the_clock="24 घंटे खुला",
        open_now="अभी खुला है",
        closed_now="अभी बंद है",
        opens_next="अगली बार खुलेगा: {time}",
        stop="। ",
    ),
    "zh": HoursPhrases(
        day_range="{first}至{last}",
        time_range="{start}至{end}",
        midnight="24:00",
        every_day="每天",
        closed="休息",
        around_the_clock="24小时营业",
        open_now="现在正在营业",
        closed_now="现在不营业",
        opens_next="下次营业时间：{time}",
        colon="：",
        stop="。",
    ),
    "zh_Hant": HoursPhrases(
        day_range="{first}至{last}",
        time_range="{start}至{end}",
        midnight="午夜12:00",
        every_day="每天",
        closed="休息",
        around_the_clock="24小時營業",
        open_now="現在正在營業",
        closed_now="現在不營業",
        opens_next="下次營業時間：{time}",
        colon="：",
        stop="。",
    ),
    "ar": HoursPhrases(
        day_range="من {first} إلى {last}",
        time_range="من {start} إلى {end}",
        midnight="منتصف الليل",
        every_day="كل يوم",
        closed="مغلق",
        around_the_clock="مفتوح على مدار الساعة",
        open_now="مفتوح الآن",
        closed_now="مغلق الآن",
        opens_next="موعد الافتتاح القادم: {time}",
    ),
    "he": HoursPhrases(
        day_range="{first} עד {last}",
        time_range="משעה {start} עד {end}",
        midnight="חצות",
        every_day="כל יום",
        closed="סגור",
        around_the_clock="פתוח 24 שעות ביממה",
        open_now="פתוח עכשיו",
        closed_now="סגור עכשיו",
        opens_next="הפתיחה הבאה: {time}",
    ),
    "ru": HoursPhrases(
        day_range=_RANGE,
        time_range="с {start} до {end}",
        midnight="полуночи",
        every_day="ежедневно",
        closed="закрыто",
        around_the_clock="круглосуточно",
        open_now="Сейчас открыто",
        closed_now="Сейчас закрыто",
        opens_next="Следующее открытие: {time}",
        days_from=(
            "с понедельника, со вторника, со среды, с четверга, с пятницы, с субботы, с воскресенья"
        ),
        days_to=(
            "по понедельник, по вторник, по среду, по четверг, "
            "по пятницу, по субботу, по воскресенье"
        ),
    ),
    "uk": HoursPhrases(
        day_range=_RANGE,
        time_range="з {start} до {end}",
        midnight="півночі",
        every_day="щодня",
        closed="зачинено",
        around_the_clock="цілодобово",
        open_now="Зараз відчинено",
        closed_now="Зараз зачинено",
        opens_next="Наступне відкриття: {time}",
        days_from=(
            "з понеділка, з вівторка, із середи, із четверга, з п'ятниці, із суботи, з неділі"
        ),
        days_to=(
            "до понеділка, до вівторка, до середи, до четверга, до п'ятниці, до суботи, до неділі"
        ),
    ),
    "cs": HoursPhrases(
        day_range="od {first} do {last}",
        time_range="od {start} do {end}",
        midnight="půlnoci",
        every_day="každý den",
        closed="zavřeno",
        around_the_clock="otevřeno nonstop",
        open_now="Nyní otevřeno",
        closed_now="Nyní zavřeno",
        opens_next="Příští otevření: {time}",
        days_from="pondělí, úterý, středy, čtvrtka, pátku, soboty, neděle",
        days_to="pondělí, úterý, středy, čtvrtka, pátku, soboty, neděle",
    ),
    "ro": HoursPhrases(
        day_range="de {first} până {last}",
        time_range="de la {start} la {end}",
        midnight="miezul nopții",
        every_day="în fiecare zi",
        closed="închis",
        around_the_clock="deschis non-stop",
        open_now="Acum este deschis",
        closed_now="Acum este închis",
        opens_next="Următoarea deschidere: {time}",
    ),
    "hu": HoursPhrases(
        day_range=_RANGE,
        time_range="{start} órától {end} óráig",
        midnight="24:00",
        every_day="minden nap",
        closed="zárva",
        around_the_clock="éjjel-nappal nyitva",
        open_now="Most nyitva",
        closed_now="Most zárva",
        opens_next="Következő nyitás: {time}",
        days_from="hétfőtől, keddtől, szerdától, csütörtöktől, péntektől, szombattól, vasárnaptól",
        days_to="hétfőig, keddig, szerdáig, csütörtökig, péntekig, szombatig, vasárnapig",
    ),
    "el": HoursPhrases(
        day_range="{first} έως {last}",
        time_range="{start} έως {end}",
        midnight="τα μεσάνυχτα",
        every_day="κάθε μέρα",
        closed="κλειστά",
        around_the_clock="ανοιχτά όλο το 24ωρο",
        open_now="Τώρα είναι ανοιχτά",
        closed_now="Τώρα είναι κλειστά",
        opens_next="Επόμενο άνοιγμα: {time}",
    ),
    "id": HoursPhrases(
        day_range="{first} sampai {last}",
        time_range="pukul {start} sampai {end}",
        midnight="tengah malam",
        every_day="setiap hari",
        closed="tutup",
        around_the_clock="buka 24 jam",
        open_now="Sekarang buka",
        closed_now="Sekarang tutup",
        opens_next="Buka kembali: {time}",
    ),
    "vi": HoursPhrases(
        day_range="{first} đến {last}",
        time_range="từ {start} đến {end}",
        midnight="nửa đêm",
        every_day="hằng ngày",
        closed="đóng cửa",
        around_the_clock="mở cửa 24 giờ",
        open_now="Hiện đang mở cửa",
        closed_now="Hiện đang đóng cửa",
        opens_next="Mở cửa lần tới: {time}",
    ),
    "th": HoursPhrases(
        day_range="{first}ถึง{last}",
        # Spaces, because Thai writes "and" without any.
        time_range=" {start} ถึง {end} ",
        midnight="เที่ยงคืน",
        every_day="ทุกวัน",
        closed="ปิดทำการ",
        around_the_clock="เปิดตลอด 24 ชั่วโมง",
        open_now="ขณะนี้เปิดทำการ",
        closed_now="ขณะนี้ปิดทำการ",
        opens_next="เปิดทำการครั้งถัดไป: {time}",
        stop=" ",
    ),
}
