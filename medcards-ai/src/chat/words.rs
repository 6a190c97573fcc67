use medcards_core::user::Locale;

use super::advice::Advice;

/// The coach's fixed words, in English for languages that have none.
pub(super) struct Words {
    health: &'static str,
    emergency: &'static str,
    /// What stands before the author's words when no model replies.
    pub(super) unavailable: &'static str,
}

impl Words {
    pub(super) fn of(locale: Locale) -> &'static Self {
        match locale.language() {
            "de" => &GERMAN,
            "es" => &SPANISH,
            "fr" => &FRENCH,
            "it" => &ITALIAN,
            "pt" => &PORTUGUESE,
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

const SPANISH: Words = Words {
    health: "Estoy aquí para hablar de este caso y no puedo dar consejos sobre la salud real de nadie. Consulte a \
             un médico o a un farmacéutico. Si tiene una pregunta sobre el caso, le ayudo con mucho gusto.",
    emergency: "Si usted o alguien cercano puede estar en peligro, llame ahora mismo al número de emergencias: el \
                112 en España y en Europa, el 911 en gran parte de América. Si piensa en hacerse daño, en España \
                también puede llamar al 024, o hablar enseguida con una persona de confianza. Estoy aquí para \
                hablar solo de este caso y no puedo dar consejos sobre la salud real de nadie.",
    unavailable: "El tutor no puede responder en este momento. Esto es lo que explica el autor del caso:",
};

const GERMAN: Words = Words {
    health: "Ich bin hier, um über diesen Fall zu sprechen, und kann niemandem zu seiner wirklichen Gesundheit \
             raten. Bitte fragen Sie eine Ärztin, einen Arzt oder eine Apotheke. Fragen zum Fall beantworte ich \
             gern.",
    emergency: "Wenn Sie oder jemand in Ihrer Nähe in Gefahr sein könnten, rufen Sie jetzt den Notruf: 112 in \
                Europa, in der Schweiz auch 144. Wenn Sie daran denken, sich etwas anzutun, erreichen Sie in \
                Deutschland auch die Telefonseelsorge unter 0800 1110111, oder sprechen Sie sofort mit jemandem, \
                dem Sie vertrauen. Ich bin nur für diesen Fall hier und kann niemandem zu seiner wirklichen \
                Gesundheit raten.",
    unavailable: "Der Coach kann gerade nicht antworten. Das erklärt der Autor des Falls:",
};

const ITALIAN: Words = Words {
    health: "Sono qui per parlare di questo caso e non posso dare consigli sulla salute reale di nessuno. Si \
             rivolga a un medico o a un farmacista. Se ha una domanda sul caso, l’aiuto volentieri.",
    emergency: "Se lei o qualcuno vicino a lei può essere in pericolo, chiami subito il numero di emergenza: il 112 \
                in Italia e in Europa. Se pensa di farsi del male, parli subito anche con una persona di cui si \
                fida. Sono qui per parlare solo di questo caso e non posso dare consigli sulla salute reale di \
                nessuno.",
    unavailable: "Il tutor non può rispondere in questo momento. Ecco che cosa spiega l’autore del caso:",
};

const PORTUGUESE: Words = Words {
    health: "Estou aqui para falar deste caso e não posso dar conselhos sobre a saúde real de ninguém. Consulte um \
             médico ou um farmacêutico. Se tiver uma pergunta sobre o caso, ajudo com todo o gosto.",
    emergency: "Se você ou alguém por perto pode estar em perigo, ligue já para o número de emergência: 112 em \
                Portugal e na Europa, 192 no Brasil. Se pensa em se magoar, no Brasil também pode ligar para o \
                188, ou falar já com alguém em quem confia. Estou aqui para falar só deste caso e não posso dar \
                conselhos sobre a saúde real de ninguém.",
    unavailable: "O tutor não pode responder neste momento. Eis o que explica o autor do caso:",
};
