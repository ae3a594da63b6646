"""Names of months and days of the week in the languages of Europe, as dates are written in them, in lower case."""

# ruff: noqa: RUF001 (letters of other alphabets)
from __future__ import annotations

import unicodedata

# January to December: full names, as after the number of a day too, and abbreviations. In each line: English; German;
# French; Spanish; Italian; Portuguese; Dutch; Danish, Norwegian and Swedish; Polish; Czech; Russian; Turkish; Finnish.
# No word is the name of different months in two of these languages.
MONTHS = (
    "january jan januar jänner jaenner jän janvier janv enero ene gennaio genn gen janeiro januari styczeń stycznia "
    "sty leden ledna led январь января янв ocak oca tammikuu tammikuuta tammi",
    "february feb februar feber février févr fév febrero febbraio febbr fevereiro fev februari luty lutego lut únor "
    "února úno февраль февраля фев февр şubat şub helmikuu helmikuuta helmi",
    "march mar märz maerz mrz mär mars marzo março maart mrt marts marzec marca března březen bře март марта мар mart "
    "maaliskuu maaliskuuta maalis",
    "april apr avril avr abril abr aprile kwiecień kwietnia kwi duben dubna dub апрель апреля апр nisan nis huhtikuu "
    "huhtikuuta huhti",
    "may mai mayo maggio magg mag maio mei maj maja květen května kvě май мая mayıs toukokuu toukokuuta touko",
    "june jun juni juin junio giugno giu junho czerwiec czerwca cze červen června čvn čen июнь июня июн haziran haz "
    "kesäkuu kesäkuuta kesä",
    "july jul juli juillet juil julio luglio lug julho lipiec lipca lip červenec července čvc čec июль июля июл "
    "temmuz tem heinäkuu heinäkuuta heinä",
    "august aug août aoû agosto ago augustus augusti sierpień sierpnia sie srpen srpna srp август августа авг ağustos "
    "ağu elokuu elokuuta elo",
    "september sep sept septembre septiembre setiembre settembre sett set setembro wrzesień września wrz září zář "
    "сентябрь сентября сен сент eylül eyl syyskuu syyskuuta syys",
    "october oct oktober okt octobre octubre ottobre ott outubro out październik października paź říjen října říj "
    "октябрь октября окт ekim eki lokakuu lokakuuta loka",
    "november nov novembre noviembre novembro listopad listopada listopadu lis ноябрь ноября ноя нояб kasım kas "
    "marraskuu marraskuuta marras",
    "december dec dezember dez décembre déc diciembre dic dicembre dezembro desember des grudzień grudnia gru "
    "prosinec prosince pro декабрь декабря дек aralık ara joulukuu joulukuuta joulu",
)
WEEKDAYS = (
    "monday mon montag mo lundi lun lunes lunedì maandag ma mandag man måndag mån segunda-feira segunda seg "
    "poniedziałek pon pondělí po понедельник пн pazartesi pzt maanantai tuesday tues tue dienstag di mardi mar martes "
    "martedì dinsdag tirsdag tir tisdag tis terça-feira terça ter wtorek wt wto úterý út вторник вт salı sal tiistai "
    "wednesday wed mittwoch mi mercredi mer miércoles mié mercoledì woensdag wo onsdag ons quarta-feira quarta qua "
    "środa śr śro středa st среда ср çarşamba çar çrş keskiviikko thursday thurs thur thu donnerstag do jeudi jeu "
    "jueves jue giovedì gio donderdag torsdag tor tors quinta-feira quinta qui czwartek czw čtvrtek čt четверг чт "
    "perşembe per prş torstai friday fri freitag fr vendredi ven viernes vie venerdì vrijdag vr fredag fre "
    "sexta-feira sexta sex piątek pt pią pátek pá пятница пт cuma cum perjantai saturday sat samstag sonnabend sa "
    "samedi sam sábado sáb sabato sab zaterdag za lørdag lør lördag lör sobota sob so суббота сб cumartesi cmt cts "
    "lauantai sunday sun sonntag dimanche dim domingo dom domenica zondag zo søndag søn söndag sön niedziela nd nie "
    "neděle ne воскресенье вс pazar paz sunnuntai"
)


def spellings(word: str) -> set[str]:
    """A word with its accents, and as people type it who have no keys for them."""
    bare = word.replace("ı", "i").replace("ł", "l").replace("ø", "o")
    return {word, "".join(unicodedata.normalize("NFD", each)[0] if each not in "йё" else each for each in bare)}


MONTH_OF = {
    spelling: number
    for number, names in enumerate(MONTHS, 1)
    for name in names.split()
    for spelling in sorted(spellings(name))
}
DAY_NAMES = sorted({spelling for name in WEEKDAYS.split() for spelling in spellings(name)})
