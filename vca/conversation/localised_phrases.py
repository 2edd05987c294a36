"""VCA's own phrases in each supported language; English for all others."""

from typing import Literal, TypeAlias

from vca.conversation.types import EndReason, Profile, Role

PhraseKey: TypeAlias = Literal[
    "again",
    "filler",
    "noted",
    "anything_else",
    "connecting",
    "not_connected",
    "not_done",
    "cut_off",
    "cannot_help",
    "leave_message",
    "silence",
    "goodbye",
    "limit",
]

_PHRASES: dict[str, dict[PhraseKey, str]] = {
    "en": {
        "again": "Sorry, I did not catch that. Could you say it again?",
        "filler": "One moment, please.",
        "noted": "Thank you, I have noted that.",
        "anything_else": "Is there anything else I can do for you?",
        "connecting": "One moment, I am connecting you.",
        "not_connected": "I am sorry, nobody could be reached there. What else can I do for you?",
        "not_done": "I am sorry, that did not work.",
        "cut_off": "I am sorry, I have to stop here. What else can I do for you?",
        "cannot_help": "I am sorry, I cannot help with that. What else can I do for you?",
        "leave_message": "I am sorry, nobody could be reached there. May I take a message?",
        "silence": "I am sorry, I cannot hear you. Please call again. Goodbye.",
        "goodbye": "Thank you for calling. Goodbye.",
        "limit": "I am sorry, this call has reached its limit. Thank you for calling. Goodbye.",
    },
    "de": {
        "again": "Entschuldigung, das habe ich nicht verstanden. Können Sie das wiederholen?",
        "filler": "Einen Moment, bitte.",
        "noted": "Danke, das habe ich notiert.",
        "anything_else": "Kann ich sonst noch etwas für Sie tun?",
        "connecting": "Einen Moment, ich verbinde Sie.",
        "not_connected": "Leider war dort niemand zu erreichen. Was kann ich sonst für Sie tun?",
        "not_done": "Entschuldigung, das hat nicht funktioniert.",
        "cut_off": "Entschuldigung, hier muss ich abbrechen. Was kann ich sonst für Sie tun?",
        "cannot_help": "Dabei kann ich leider nicht helfen. Was kann ich sonst für Sie tun?",
        "leave_message": "Leider war dort niemand zu erreichen. Darf ich eine Nachricht aufnehmen?",
        "silence": "Ich kann Sie leider nicht hören. Bitte rufen Sie wieder an. Auf Wiederhören.",
        "goodbye": "Vielen Dank für Ihren Anruf. Auf Wiederhören.",
        "limit": "Leider ist unsere Zeit um. Vielen Dank für Ihren Anruf. Auf Wiederhören.",
    },
    "es": {
        "again": "Perdone, no le he entendido. ¿Podría repetirlo?",
        "filler": "Un momento, por favor.",
        "noted": "Gracias, lo he anotado.",
        "anything_else": "¿Puedo ayudarle en algo más?",
        "connecting": "Un momento, le paso la llamada.",
        "not_connected": "Lo siento, no ha contestado nadie. ¿En qué más puedo ayudarle?",
        "not_done": "Lo siento, eso no ha funcionado.",
        "cut_off": "Perdone, debo parar aquí. ¿En qué más puedo ayudarle?",
        "cannot_help": "Lo siento, no puedo ayudarle con eso. ¿En qué más puedo ayudarle?",
        "leave_message": "Lo siento, no ha contestado nadie. ¿Quiere dejar un mensaje?",
        "silence": "Lo siento, no le oigo. Por favor, llame de nuevo. Adiós.",
        "goodbye": "Gracias por llamar. Adiós.",
        "limit": "Lo siento, se ha agotado el tiempo de esta llamada. Gracias por llamar. Adiós.",
    },
    "fr": {
        "again": "Pardon, je n'ai pas compris. Pouvez-vous répéter ?",
        "filler": "Un instant, s'il vous plaît.",
        "noted": "Merci, c'est noté.",
        "anything_else": "Puis-je faire autre chose pour vous ?",
        "connecting": "Un instant, je vous mets en relation.",
        "not_connected": "Désolé, personne n'a pu être joint. Puis-je faire autre chose ?",
        "not_done": "Désolé, cela n'a pas fonctionné.",
        "cut_off": "Désolé, je dois m'arrêter là. Que puis-je faire d'autre pour vous ?",
        "cannot_help": "Désolé, je ne peux pas vous aider pour cela. Que puis-je faire d'autre ?",
        "leave_message": "Désolé, personne n'a pu être joint. Puis-je prendre un message ?",
        "silence": "Désolé, je ne vous entends pas. Veuillez rappeler. Au revoir.",
        "goodbye": "Merci de votre appel. Au revoir.",
        "limit": "Désolé, le temps prévu est écoulé. Merci de votre appel. Au revoir.",
    },
}

_HELLO = {
    "en": ("Hello.", "Hello, this is {name}."),
    "de": ("Guten Tag.", "Guten Tag, hier ist {name}."),
    "es": ("Buenos días.", "Buenos días, le habla {name}."),
    "fr": ("Bonjour.", "Bonjour, ici {name}."),
}

_OFFERS: dict[str, dict[Role, str]] = {
    "en": {
        "receptionist": "How may I help you?",
        "sales": "What are you looking for?",
        "support": "What can I help you with?",
        "dispatcher": "What has happened, and where are you?",
        "custom": "How can I help you?",
    },
    "de": {
        "receptionist": "Was kann ich für Sie tun?",
        "sales": "Wonach suchen Sie?",
        "support": "Wobei kann ich Ihnen helfen?",
        "dispatcher": "Was ist passiert, und wo sind Sie?",
        "custom": "Wie kann ich Ihnen helfen?",
    },
    "es": {
        "receptionist": "¿En qué puedo ayudarle?",
        "sales": "¿Qué está buscando?",
        "support": "¿Con qué necesita ayuda?",
        "dispatcher": "¿Qué ha pasado y dónde se encuentra?",
        "custom": "¿Cómo puedo ayudarle?",
    },
    "fr": {
        "receptionist": "En quoi puis-je vous aider ?",
        "sales": "Que recherchez-vous ?",
        "support": "Quel est votre problème ?",
        "dispatcher": "Que s'est-il passé, et où êtes-vous ?",
        "custom": "Comment puis-je vous aider ?",
    },
}


def phrase(key: PhraseKey, language: str) -> str:
    """Return the phrase in the language of the BCP 47 tag, or in English."""
    return _PHRASES[_supported_language(language)][key]


def closing_phrase(reason: EndReason, language: str) -> str:
    """Return the last phrase before the agent hangs up, for the end reason."""
    match reason:
        case "agent_hangup":
            return phrase("goodbye", language)
        case "silence":
            return phrase("silence", language)
        case _:
            return phrase("limit", language)


def default_greeting(profile: Profile) -> str:
    """Return a greeting for a profile without one: its name, if any, and the role's offer."""
    language = _supported_language(profile.language)
    anonymous, with_name = _HELLO[language]
    # A profile without a name is named after its role, which makes no sense to a caller.
    is_nameless = profile.name.strip().casefold() in ("", profile.role)
    hello = anonymous if is_nameless else with_name.format(name=profile.name)
    return f"{hello} {_OFFERS[language][profile.role]}"


def _supported_language(language: str) -> str:
    primary = language.replace("_", "-").partition("-")[0].lower()
    return primary if primary in _PHRASES else "en"
