use medcards_core::user::Locale;

use super::advice::Advice;

/// The coach's fixed words. French if the language is French, else English.
pub(super) struct Words {
    health: &'static str,
    emergency: &'static str,
    /// What stands before the author's words when no model replies.
    pub(super) unavailable: &'static str,
}

impl Words {
    pub(super) fn of(locale: Locale) -> &'static Self {
        match locale.language() {
            "fr" => &FRENCH,
            _ => &ENGLISH,
        }
    }

    pub(super) fn declining(&self, advice: Advice) -> &'static str {
        match advice {
            Advice::Emergency => self.emergency,
            Advice::Health => self.health,
        }
    }
}

const ENGLISH: Words = Words {
    health: "I am here to talk about this case, and I cannot give advice on anyone’s real health. Please ask \
             a physician or a pharmacist about it. If you have a question about the case, I am glad to help.",
    emergency: "If you or someone near you may be in danger, call your local emergency number now: 112 in \
                Europe, 911 in North America. If you think of harming yourself, you can also call or text \
                988 in the United States, or talk to someone you trust right away. I am here to talk about \
                this case only, and I cannot give advice on anyone’s real health.",
    unavailable: "The coach cannot reply just now. This is what the author of the case explains:",
};

const FRENCH: Words = Words {
    health: "Je suis là pour parler de ce cas, et je ne peux donner aucun conseil sur la santé réelle de qui que ce \
             soit. Adressez-vous à un médecin ou à un pharmacien. Si vous avez une question sur le cas, je \
             vous aide volontiers.",
    emergency: "Si vous ou quelqu’un près de vous êtes peut-être en danger, appelez tout de suite le numéro \
                d’urgence : le 15 ou le 112 en France, le 112 en Europe. Si vous pensez à vous faire du mal, vous \
                pouvez aussi appeler le 3114 en France, ou parler sans attendre à une personne de confiance. Je \
                suis là pour parler de ce cas seulement, et je ne peux donner aucun conseil sur la santé réelle \
                de qui que ce soit.",
    unavailable: "Le coach ne peut pas répondre pour l’instant. Voici ce qu’explique l’auteur du cas :",
};
