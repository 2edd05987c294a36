"""End phrases: what ends a call without asking the model, and what the model judges."""

import pytest

from vca.conversation import courtesy_words, phrase_matching
from vca.conversation.phrase_matching import ends_call

# End phrases as tenants set them.
END_PHRASES = {
    "en": ("goodbye", "bye", "that's all"),
    "de": ("auf wiederhören", "auf wiedersehen", "tschüss", "das wär's"),
    "es": ("adiós", "hasta luego"),
    "fr": ("au revoir", "à bientôt"),
    "it": ("arrivederci", "ciao"),
    "pt": ("adeus", "tchau"),
    "nl": ("tot ziens", "dag"),
    "pl": ("do widzenia",),
    "sv": ("hej då",),
    "da": ("farvel",),
    "nb": ("ha det", "farvel"),
    "fi": ("näkemiin", "kuulemiin"),
    "tr": ("iyi günler", "hoşça kalın"),
    "ja": ("さようなら", "失礼します"),
    "ko": ("안녕히 계세요", "수고하세요"),
    "hi": ("नमस्ते", "अलविदा"),
    "zh": ("再见", "拜拜"),
    "ar": ("مع السلامة", "وداعا"),
    "he": ("להתראות",),
    "ru": ("до свидания",),
    "uk": ("до побачення",),
    "cs": ("na shledanou",),
    "ro": ("la revedere",),
    "hu": ("viszontlátásra",),
    "el": ("αντίο",),
    "id": ("sampai jumpa",),
    "vi": ("tạm biệt",),
    "th": ("ลาก่อน",),
}


def is_goodbye(language: str, utterance: str) -> bool:
    return ends_call(END_PHRASES[language.partition("-")[0]], utterance, language=language)


@pytest.mark.parametrize(
    ("language", "utterance"),
    [
        ("en", "Goodbye!"),
        ("en-US", "OK, thanks -- GOODBYE."),
        ("en", "Good bye"),
        ("en", "Good-bye, then."),
        ("en", "well... good-bye? goodbye"),
        ("en-GB", "All right, thank you very much for your help. Bye bye."),
        ("en", "No, that's all, thanks."),
        ("en", "No, that\u2019s all for today, thank you so much, have a great weekend, bye!"),
        ("en", "Perfect. See you on Tuesday. Bye now."),
        ("en", "Okay, you too, take care, goodbye."),
        ("en", "Nothing else, thank you. Bye."),
        ("en", "That's great, thank you, bye"),
        ("en", "Okay, it was nice talking to you, bye-bye!"),
        ("en", "I think that's everything, you've been a great help. Goodbye."),
        ("en", "Enjoy your weekend, God bless, bye."),
        ("de", "Tschüß!"),
        ("de", "Das ist sehr nett, Sie haben mir sehr geholfen. Wir hören uns, tschüss."),
        ("de-CH", "Alles klar, vielen Dank für die Auskunft, auf Wiederhören."),
        ("de", "Nein danke, das wär's. Schönen Tag noch, tschüss!"),
        ("de", "Gut, dann bis morgen. Tschüss."),
        ("de-AT", "Danke, Ihnen auch. Auf  Wieder­sehen"),
        ("es", "Adio\u0301s."),
        ("es-MX", "No, nada más, muchas gracias. ¡Hasta luego!"),
        ("es", "Vale, perfecto, gracias por todo, que tenga un buen día, adiós."),
        ("fr", "Au revoir !"),
        ("fr-CA", "Non, c’est tout, merci beaucoup. Bonne journée, au revoir madame."),
        ("fr", "D'accord, merci, à bientôt."),
        ("fr", "Vous avez été très aimable, merci de votre aide, au revoir."),
        ("it", "Va bene, grazie mille, arrivederci."),
        ("it", "No, è tutto, grazie. Buona giornata, ciao."),
        ("pt-BR", "Tá bom, muito obrigado, tchau tchau!"),
        ("nl", "Oké, dank u wel, fijne dag nog, tot ziens."),
        ("pl", "Dobrze, dziękuję bardzo, do widzenia."),
        ("sv", "Okej, tack så mycket, ha en bra dag, hej då!"),
        ("da", "Tak skal du have, farvel."),
        ("nb-NO", "Tusen takk, ha det bra."),
        ("no", "Takk, ha det!"),
        ("fi", "Selvä, kiitos paljon, hyvää päivänjatkoa, näkemiin."),
        ("tr", "Tamam, çok teşekkür ederim, İYİ GÜNLER."),
        ("tr", "Peki, HOŞÇA KALIN"),
        ("ja", "では、さようなら。"),
        ("ja-JP", "はい、ありがとうございました。失礼します。"),
        ("ko", "네, 감사합니다. 안녕히 계세요."),
        ("hi", "ठीक है, धन्यवाद, नमस्ते"),
        ("zh-CN", "好的，谢谢你，再见！"),
        ("cmn-Hans-CN", "没有了，谢谢，拜拜"),
        ("ar", "شكرا جزيلا، مع السلامة"),
        ("he", "תודה רבה, יום טוב, להתראות!"),
        ("ru", "Хорошо, спасибо большое, до свидания."),
        ("uk", "Дякую за допомогу, до побачення!"),
        ("cs", "Děkuji moc, hezký den, na shledanou."),
        ("ro", "Mulțumesc mult, o zi bună, la revedere."),
        ("hu", "Rendben, köszönöm szépen, viszontlátásra!"),
        ("el", "Εντάξει, ευχαριστώ πολύ, αντίο."),
        ("id", "Baik, terima kasih banyak, sampai jumpa."),
        ("vi", "Vâng, cảm ơn anh nhiều, tạm biệt nhé."),
        ("th", "ขอบคุณมากค่ะ ลาก่อนค่ะ"),
    ],
)
def test_an_end_phrase_with_only_courtesy_around_it_ends_the_call(
    language: str, utterance: str
) -> None:
    language_of_phrases = {"no": "nb", "cmn": "zh"}.get(language.partition("-")[0])
    phrases = END_PHRASES[language_of_phrases or language.partition("-")[0]]

    assert ends_call(phrases, utterance, language=language)


@pytest.mark.parametrize(
    "utterance",
    [
        "I want to say goodbye to my old dentist and register with you.",
        "Please do not say goodbye yet, I have another question.",
        "How do I spell goodbye?",
        "My name is Joe Bye.",
        "Joe Bye",
        "It's Bye",
        "This is Bye.",
        "It's Bye, B Y E.",
        "Goodbye is what the last agent said before the line went dead.",
        "Before I say bye, what are your hours?",
        "Bye the way, are you open on Sunday?",
        "Thanks, and one more thing before goodbye",
        "I said goodbye to him yesterday.",
        "Don't say bye.",
        "Is that all? Not goodbye.",
        "That's all?",
        "That's all I wanted to know about the price, but what about delivery",
        "That's all wrong.",
        "No, wait, not bye",
        "Bye, Anna, is Tom there",
        "The shop is called Bye Bye Baby.",
    ],
)
def test_more_than_a_goodbye_is_left_to_the_model(utterance: str) -> None:
    assert not is_goodbye("en", utterance)


@pytest.mark.parametrize(
    ("language", "utterance"),
    [
        ("de", "Ich möchte meinem alten Zahnarzt Tschüss sagen und zu Ihnen wechseln."),
        ("de", "Bitte sagen Sie noch nicht auf Wiederhören."),
        ("de", "Wie schreibt man tschüss?"),
        ("de", "Mein Name ist Tschüss."),
        ("de", "Das wär's noch nicht, eine Frage habe ich."),
        ("de", "Die Firma heißt Auf Wiedersehen Reisen."),
        ("de", "Moment, nicht tschüss"),
        ("de", "Auf Wiedersehen im Film um acht, gibt es noch Karten"),
        ("de", "Tschüss?"),
        ("es", "Quiero decir adiós a mi antiguo dentista."),
        ("es", "¿Cómo se escribe adiós?"),
        ("es", "Me llamo Carlos Adiós."),
        ("es", "No diga adiós todavía, tengo otra pregunta."),
        ("es", "Hasta luego dijo el otro agente y colgó."),
        ("es", "Espere, no adiós"),
        ("es", "¿Adiós?"),
        ("es", "Adiós a las visitas, ¿cómo cancelo la cita"),
        ("fr", "Je veux dire au revoir à mon ancien dentiste."),
        ("fr", "Comment écrit-on au revoir ?"),
        ("fr", "Je m'appelle Luc Au Revoir."),
        ("fr", "Ne dites pas encore au revoir."),
        ("fr", "Attendez, pas au revoir"),
        ("fr", "À bientôt, c'est quand exactement"),
        ("fr", "Le magasin s'appelle Au Revoir."),
        ("fr", "Au revoir à mon abonnement, je veux résilier."),
        ("it", "Mi chiamo Ciao."),
        ("ja", "さようならと言いたいです"),
        ("zh", "我想和以前的牙医说再见"),
        ("zh", "再见怎么写？"),
        ("hi", "मुझे नमस्ते कहना है"),
        ("th", "ลาก่อนเขียนอย่างไร"),
        ("ru", "Как пишется до свидания?"),
        ("ar", "كيف تكتب مع السلامة؟"),
        ("el", "Πώς γράφεται αντίο\u037e"),
    ],
)
def test_more_than_a_goodbye_in_other_languages_is_left_to_the_model(
    language: str, utterance: str
) -> None:
    assert not is_goodbye(language, utterance)


@pytest.mark.parametrize("utterance", ["Thanks.", "OK, see you.", "No, thank you", "", " ... "])
def test_courtesy_without_an_end_phrase_does_not_end_the_call(utterance: str) -> None:
    assert not ends_call(("goodbye",), utterance, language="en")


@pytest.mark.parametrize(
    ("phrase", "utterance"),
    [
        ("that's all", "well, that\u2019s all"),
        ("that's all", "Thats all."),
        ("no, thank you", "No thank you"),
        ("STRASSE", "Straße"),
        ("bye", "\uff42\uff59\uff45"),
        ("bye 4 now", "bye 4 now"),
    ],
)
def test_case_punctuation_and_unicode_form_do_not_matter(phrase: str, utterance: str) -> None:
    assert ends_call(("never said", phrase), utterance, language="en")


@pytest.mark.parametrize(
    ("phrase", "utterance"),
    [
        ("bye", "the lobbye"),
        ("bye", "byelaws, please"),
        ("that's all", "is that all"),
        ("all done", "all is done"),
        ("नमस", "नमस्ते"),
        ("", "ok"),
        ("...", "ok ..."),
        ("goodbye", ""),
        ("", ""),
        ("goodbye", "ok " * 300 + "goodbye"),
    ],
)
def test_a_part_of_a_word_or_of_a_phrase_does_not_match(phrase: str, utterance: str) -> None:
    assert not ends_call((phrase,), utterance, language="en")


def test_courtesy_of_another_language_is_left_to_the_model() -> None:
    assert ends_call(("qapla",), "Qapla'!", language="tlh")
    assert not ends_call(("qapla",), "Danke, qapla", language="tlh")
    assert not ends_call(("goodbye",), "Vielen Dank, goodbye", language="en")


def test_no_phrases_never_end_a_call() -> None:
    assert not ends_call((), "goodbye", language="en")


def test_each_language_has_courtesy_words() -> None:
    assert set(END_PHRASES) == courtesy_words.LANGUAGES
    for language in courtesy_words.LANGUAGES:
        phrases = courtesy_words.courtesy_phrases(language)
        assert len(phrases) > 60, language
        assert all(map(phrase_matching._split_words, phrases)), language
        assert not any("|" in phrase or "_" in phrase for phrase in phrases), language


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "wait|not|don't|stop|hold on|my name|question|one moment|mister|say|before"),
        ("de", "moment|nicht|warte|warten Sie|halt|mein Name|Frage|Herr|sagen|bevor"),
        ("es", "espere|espera|todavía|mi nombre|pregunta|un momento|don|decir|antes"),
        ("fr", "attendez|pas|mon nom|question|un instant|dire|avant|encore une question"),
    ],
)
def test_no_word_of_courtesy_is_a_refusal_a_request_or_a_part_of_a_name(
    language: str, words: str
) -> None:
    for word in words.split("|"):
        assert not ends_call(("bye",), f"{word} bye", language=language), word
        assert not ends_call(("bye",), f"bye {word}", language=language), word
