//! Tells questions about a case from requests for advice on someone's real health.

mod german;
mod italian;
mod portuguese;
mod spanish;

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

/// What kind of advice is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Someone may be in danger now.
    Emergency,
    /// Anyone's own health.
    Health,
}

/// What a language says in requests for advice.
struct Patterns {
    /// Someone needs help now, whatever else is said.
    at_once: Vec<String>,
    /// Someone speaks of their own health, or of that of someone whom they know.
    own: Vec<String>,
    /// What sounds like the former and is said of a case.
    of_the_case: Vec<String>,
}

/// The languages beside English and French.
static OTHERS: LazyLock<[Patterns; 4]> = LazyLock::new(|| {
    [
        spanish::patterns(),
        german::patterns(),
        italian::patterns(),
        portuguese::patterns(),
    ]
});

const PAIN: &str = r"(?:(?:chest|back|stomach|abdominal|belly|head|neck|throat|leg|arm|jaw|breast|joint|tooth|ear|eye|muscle)[ -]?)?(?:pains?|aches?)|headaches?|migraines?|fevers?|(?:high |low )?temperature|cough(?:ing)?|rash(?:es)?|nausea|vomiting|diarrh?oea|diarrhea|dizz(?:y|iness)|palpitations?|shortness of breath|short of breath|breathless(?:ness)?|numb(?:ness)?|tingling|bleeding|blood in my \w+|swelling|swollen \w+|lumps?|constipation|cramps?|insomnia|anxiety|panic attacks?|depress(?:ed|ion)|sick|unwell|ill|weak(?:ness)?|tired|faint|symptoms?|burning|itch(?:y|ing)|sore throat|diabetes|hypertension|high blood pressure|asthma|cancer|pneumonia|covid(?:-19)?|flu|an infection|allerg(?:y|ic)|heart (?:attack|failure|disease)|stroke|seizures?|epilepsy|ulcers?|kidney stones?|uti|pregnant|a cold";

const KIN: &str = r"mother|mom|mum|mommy|father|dad|daddy|parents?|wife|husband|partner|son|daughter|child|children|kids?|baby|newborn|toddler|sister|brother|grandmother|grandma|grandfather|grandpa|granny|aunt|uncle|cousin|niece|nephew|friend|girlfriend|boyfriend|roommate|flatmate|neighbou?r|colleague|boss|teacher|mother-in-law|father-in-law|dog|cat";

const DANGER: &str = r"chest pain|chest (?:hurts?|is hurting|tightness)|(?:can'?t|cannot|can not|not|stopped|trouble|difficulty|struggl\w+(?: to)?|hard to|unable to) breath\w*|unconscious|unresponsive|passed out|collapsed|fainted|seizure|fitting|stroke|heart attack|overdos\w+|bleeding (?:a lot|heavily|badly|and it)|won'?t stop bleeding|anaphyla\w+|chok(?:ing|ed)|poison\w*|turned blue|face (?:is )?droop\w*|douleurs? (?:a|dans) la poitrine|mal a la poitrine|respire (?:plus|mal|pas)|respirer|inconscient\w*|convuls\w+|crise cardiaque|infarctus|avc|overdose|surdose|saigne beaucoup|s'etouffe|etouffe|perdu connaissance|empoisonn\w*|intoxiqu\w*";

const FRENCH_ILLS: &str = r"(?:une |des |de la |de l'|du |un |la |tres |toujours |souvent |encore |beaucoup de |tellement |si )*(?:douleurs?|fievre|toux|vertiges?|nausees?|vomissements?|diarrhees?|palpitations?|boutons?|eruption|migraines?|maux de \w+|mal (?:a la|a l'|au|aux|partout|dans|depuis)|essouffle\w*|saignements?|boule|gonflement|fourmillements?|crampes?|insomnies?|angine|grippe|rhume|covid|diabete|hypertension|asthme|cancer|allergie|allergique|infection|symptomes?|fatigue\w*|malade|enceinte|pneumonie)";

const FRENCH_KIN: &str = r"mere|maman|pere|papa|parents|femme|mari|epouse|epoux|conjointe?|fils|fille|enfants?|bebe|soeur|frere|grand-?mere|grand-?pere|mamie|papi|tante|oncle|cousine?|niece|neveu|amie?|copine|copain|voisine?|collegue|belle-mere|beau-pere|chien|chat";

/// Someone speaks of harming themselves, or of someone who needs help now.
static AT_ONCE: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = [
        r"\bi (?:want|wanted|am going|'?m going|plan|would like|wish) to (?:die|kill myself|end my life|end it all|hurt myself)".to_owned(),
        r"\b(?:kill(?:ing)?|hurt(?:ing)?|harm(?:ing)?|cut(?:ting)?) myself\b|\bi(?: am|'?m| feel)(?: \w+)? suicidal\b|\bmy suicide\b".to_owned(),
        r"\bi (?:just |have |'?ve )*(?:overdosed|swallowed|took (?:too (?:many|much)|a whole|all (?:my|the|of)))\b".to_owned(),
        r"\bi(?: am|'?m)? (?:having|am having) (?:a |an )?(?:heart attack|stroke|seizure|anaphyla\w+)\b".to_owned(),
        r"\bi (?:can'?t|cannot|can not) breathe?\b".to_owned(),
        r"\b(?:someone|somebody|a (?:man|woman|person|child|stranger)) (?:\w+ ){0,4}(?:next to me|in front of me|beside me|in the street|at my \w+)\b".to_owned(),
        r"\b(?:someone|somebody) (?:\w+ ){0,2}(?:just )?(?:collapsed|stopped breathing|is not breathing|isn'?t breathing|is unconscious|is choking)\b".to_owned(),
        r"\bje (?:veux|voudrais|vais|souhaite) (?:mourir|me suicider|me tuer|en finir|me faire du mal)\b|\benvie (?:de mourir|d'en finir|de me suicider)\b|\bme suicider\b".to_owned(),
        r"\bj'ai (?:avale|pris) (?:trop|toute?s?|une boite|des boites)\b|\bj'ai fait une overdose\b".to_owned(),
        r"\bje (?:n'arrive (?:plus|pas)|ne peux (?:plus|pas)|peux (?:plus|pas)) (?:a )?respirer\b".to_owned(),
        r"\bquelqu'un (?:\w+ ){0,4}(?:ne respire|s'est effondre|a cote de moi|devant moi|est inconscient)".to_owned(),
    ];
    set(patterns
        .iter()
        .chain(OTHERS.iter().flat_map(|other| &other.at_once)))
});

/// Someone speaks of their own health, or of that of someone whom they know.
static OWN: LazyLock<RegexSet> = LazyLock::new(|| {
    let few = r"(?:a |an |some |the |this |these |that |my |had |having |such |really |very |so |quite |pretty |bit |a bit |little |lot of |lots of |constant |bad |severe |terrible |awful |strange |sharp |mild |sudden |weird |burning |strong |persistent |chronic |acute |recurrent |type \d |\d+ |high |still |always |often |also |been |feeling |getting |experiencing |diagnosed with |and |with )*";
    let patterns = [
        // My own body.
        format!(r"\bi(?: have|'?ve|'?ve got| got| had| am|'?m| feel| felt| get| suffer from| keep| was| experience| experienced) {few}(?:{PAIN})\b"),
        r"\bmy (?:\w+ )?(?:chest|head|stomach|belly|back|throat|leg|legs|arm|knee|eye|eyes|ear|tooth|foot|feet|skin|heart|breast|penis|vagina|period|stool|urine|hands?|fingers?|neck|jaw|lungs?) (?:\w+ )?(?:hurts?|aches?|is|are|has|have|feels?|was|were|burns?|itch\w*|keeps?|bleeds?|swells?|rac\w+|pounds?)\b".to_owned(),
        r"\bmy (?:own )?(?:symptoms?|blood pressure|test results?|lab results?|blood tests?|blood sugar|cholesterol|medications?|meds|prescriptions?|pills?|illness|disease|condition|pregnancy|mole|rash|fever|cough|headaches?|migraines?|pain|doctor|gp|physician|pharmacist|depression|anxiety|diabetes|asthma|ecg|ekg|mri|ct scan|x-?ray|biopsy|heart rate|period)\b".to_owned(),
        // What I take.
        r"\b(?:should|can|could|may|must|do|would|shall) i (?:\w+ )?(?:take|stop taking|keep taking|quit|swallow|inject|drink|avoid eating|get vaccinated|get tested|get checked|worry|be worried|be concerned|see (?:a |my |the )?(?:doctor|gp|physician|specialist|dentist|cardiologist|neurologist|dermatologist|psychiatrist|therapist|nurse)|go to|call (?:a|an|my|911|112|999)|have (?:surgery|an operation|it removed)|mix)\b".to_owned(),
        r"\b(?:how (?:much|many|often)|what dose|which dose|what dosage|which (?:drug|medicine|medication|antibiotic|painkiller)s?|what (?:drug|medicine|medication|antibiotic|painkiller)s?) (?:\w+ ){0,6}(?:should|can|could|may|must|do|would) i (?:take|inject|swallow)\b".to_owned(),
        r"\bi(?: am|'?m| was|'?ve been| have been)? (?:taking|on|prescribed|given|take) (?:\w+ ){0,4}(?:mg|tablets?|pills?|daily|twice|every day|antidepressants?|antibiotics?|statins?|metformin|insulin|lisinopril|sertraline|warfarin|ibuprofen|paracetamol|aspirin|medication)\b".to_owned(),
        r"\b(?:safe|dangerous|bad|good|ok|okay|normal|recommended) for me\b|\bdo i have (?:a |an )?\w+|\bam i (?:having|sick|ill|pregnant|dying|at risk|going to die|infected|contagious)\b|\bcould i (?:have|be having|be pregnant|be infected)\b|\bwhat(?:'s| is) wrong with me\b|\b(?:diagnose|treat|cure|examine) me\b|\bfor myself\b".to_owned(),
        // Whom I know.
        format!(r"\bmy (?:\w+ ){{0,3}}(?:{KIN})(?:'s)?\b (?:\w+ ){{0,3}}(?:has|have|had|is|was|are|takes?|took|feels?|felt|got|gets|needs?|should|can|could|may|complain\w*|suffers?|keeps?|fell|fainted|collapsed|vomit\w*|cough\w*|won'?t|cannot|can'?t|stopped|overdos\w*|swallowed|died|blood|symptoms?|results?|medications?|pain|chest|fever|doctor)\b"),
        format!(r"\b(?:for|give|giving|treat|help|to) my (?:\w+ ){{0,2}}(?:{KIN})\b|\b(?:should|can|could|may|does|is|would|will|has) my (?:\w+ ){{0,2}}(?:{KIN})\b"),
        r"\b(?:real[ -]life|not about the case|in real life|personal (?:medical )?question)\b.*\b(?:i|me|my|should|pain|take)\b".to_owned(),
        // The same in French.
        format!(r"\bj'(?:ai|avais|ai eu) {FRENCH_ILLS}\b|\bje (?:suis|me sens|me sens tres) {FRENCH_ILLS}\b"),
        r"\bje (?:souffre|tousse|vomis|saigne|ressens|me sens (?:mal|pas bien|bizarre)|fais de (?:la fievre|l'hypertension|l'asthme))\b|\bsuis-je (?:malade|enceinte|en danger|atteinte?)\b|\bai-je (?:un|une|le|la|des) \w+".to_owned(),
        r"\b(?:mon|ma|mes) (?:\w+ )?(?:tete|ventre|dos|gorge|jambes?|bras|poitrine|coeur|oeil|yeux|genou|dents?|pied) (?:me )?(?:fait|font|gratte|brule|est|sont|bat|gonfle)\b".to_owned(),
        r"\bmes (?:symptomes|analyses|resultats (?:de|d'|sanguins|medicaux)|medicaments|regles|comprimes)\b|\bmon (?:medecin|ordonnance|generaliste|pharmacien|diabete|asthme)\b|\bma (?:tension|grossesse|fievre|maladie|glycemie)\b".to_owned(),
        r"\b(?:puis-je|dois-je|devrais-je|je peux|je dois|je devrais|est-ce que je (?:peux|dois|devrais)) (?:\w+ )?(?:prendre|arreter de prendre|m'injecter|consulter|aller (?:aux urgences|voir|chez|a l'hopital)|voir un|m'inquieter|boire|appeler|me faire)\b".to_owned(),
        r"\b(?:combien|quelle dose|quel medicament|quels medicaments|quel antibiotique) (?:\S+ ){0,6}(?:puis-je|dois-je|je peux|je dois|je prends|prendre pour moi)\b|\bje (?:prends|suis sous) (?:\S+ ){0,3}(?:mg|comprimes?|traitement|antibiotiques?|antidepresseurs?|medicaments?|par jour|doliprane|ibuprofene|paracetamol|metformine|insuline|aspirine)\b".to_owned(),
        r"\b(?:dangereux|grave|normal|sans risque|bon) pour moi\b|\bqu'est-ce que j'ai\b|\bsoignez-moi\b|\bpour moi-meme\b".to_owned(),
        format!(r"\b(?:mon|ma|mes) (?:\w+ ){{0,2}}(?:{FRENCH_KIN}) (?:\S+ ){{0,3}}(?:a|ont|est|sont|prend|souffre|tousse|vomit|saigne|doit|peut|devrait|fait|se|s'est|ne|n'a|avait)\b"),
        format!(r"\b(?:pour|a|donner a|chez|soigner) (?:mon|ma|mes) (?:\w+ ){{0,2}}(?:{FRENCH_KIN})\b"),
    ];
    set(patterns
        .iter()
        .chain(OTHERS.iter().flat_map(|other| &other.own)))
});

/// What students say of their own thinking and of the case in the same words.
static OF_THE_CASE: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = [
        // Findings are taken for something, and drugs for a place in the treatment.
        r"\b(?:should|can|could|may|must|do|would|shall) i (?:\w+ )?take (?:the|this|that|these|his|her|their) (?:\w+ ){0,2}(?:lactate|creatinine|troponins?|bicarbonate|urea|bilirubin|d-dimers?|crp|ph|values?|levels?|findings?|results?|signs?|pressure|rate|counts?|murmur|picture|tests?) (?:\w+ ){0,2}(?:as|for|to be|to mean)\b".to_owned(),
        r"\b(?:should|can|could|may|must|do|would|shall) i (?:\w+ )?take (?:\w+ ){0,3}as (?:a |an |the |my )?(?:(?:first|second|third)[ -](?:line|choice)|(?:next |best |right )?(?:step|answer|diagnosis))\b".to_owned(),
        r"\b(?:should|can|could|may|must|do|would) i (?:\w+ )?take (?:the|this|that|his|her|their) (?:\w+ ){1,3}seriously\b".to_owned(),
        r"\b(?:should|can|could|may|must|do|would|shall) i (?:\w+ )?(?:take|use|go to|see) (?:a |an |the |his |her |their |this |that |another |any |more |some |it |for |as )*(?:history|blood|bloods|cultures?|samples?|biops\w+|ecg|ekg|pulse|temperature|swabs?|x-?rays?|formula|score|scale|criteri\w+|rule|guidelines?|account|into|granted|next|option|answer|mean|clue|approach|method|step|from|away|patient|word|term|mnemonic|calculator|table)\b".to_owned(),
        r"\bi (?:have|had|'?ve|was|am|'?m) (?:\w+ ){0,6}(?:in mind|on my (?:list|differential)|as (?:my|a|the) (?:first|answer|diagnosis|guess|differential|next)|confused|wondering|thinking|unsure|not sure|stuck|lost)\b".to_owned(),
        r"\b(?:je (?:dois|peux|devrais)|dois-je|puis-je|devrais-je) (?:\w+ )?(?:prendre (?:en compte|la tension|le pouls|en charge|une biopsie|un antecedent)|voir un (?:signe|lien|rapport|interet))\b".to_owned(),
        r"\bdo i have (?:a |an |the |any |to |it |this |that |all |enough )*(?:to|wrong|right|point|reason|chance|misunderstanding|correct|clue|information|option|choice|time|way|idea|memori\w+|know|remember)\b".to_owned(),
    ];
    let all = patterns
        .iter()
        .chain(OTHERS.iter().flat_map(|other| &other.of_the_case));
    let all: Vec<&str> = all.map(String::as_str).collect();
    Regex::new(&all.join("|")).expect("constants that tests compile")
});

static IN_DANGER: LazyLock<RegexSet> = LazyLock::new(|| {
    let all = [
        DANGER,
        spanish::DANGER,
        german::DANGER,
        italian::DANGER,
        portuguese::DANGER,
    ];
    set(&[format!(r"\b(?:{})\b", all.join("|"))])
});

fn set<'a>(patterns: impl IntoIterator<Item = &'a String>) -> RegexSet {
    RegexSet::new(patterns).expect("constants that tests compile")
}

/// What a question asks for, if it is advice on a real person's health.
///
/// Nobody's health is safe with a list of patterns alone: the model is told the same.
pub(super) fn asked_for(question: &str) -> Option<Advice> {
    let text = plain(question);
    if AT_ONCE.is_match(&text) {
        return Some(Advice::Emergency);
    }
    // What is said of the case excuses nothing but itself.
    let is_own = text
        .split(['.', '!', '?', ';', '\n'])
        .any(|sentence| OWN.is_match(&OF_THE_CASE.replace_all(sentence, " … ")));
    is_own.then(|| match IN_DANGER.is_match(&text) {
        true => Advice::Emergency,
        false => Advice::Health,
    })
}

/// Lower case, without accents, with plain apostrophes and single spaces.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars().flat_map(char::to_lowercase) {
        match char {
            'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' => plain.push('a'),
            'ç' => plain.push('c'),
            'ñ' => plain.push('n'),
            'ß' => plain.push_str("ss"),
            'è' | 'é' | 'ê' | 'ë' => plain.push('e'),
            'î' | 'ï' | 'í' | 'ì' => plain.push('i'),
            'ô' | 'ö' | 'ó' | 'ò' | 'õ' => plain.push('o'),
            'ù' | 'û' | 'ü' | 'ú' => plain.push('u'),
            'œ' => plain.push_str("oe"),
            '’' | '‘' | '`' | '´' => plain.push('\''),
            '‐' | '‑' | '–' | '—' => plain.push('-'),
            '\n' => plain.push('\n'),
            char if char.is_whitespace()
                || matches!(char, ',' | ':' | '(' | ')' | '"' | '¿' | '¡') =>
            {
                if !plain.ends_with(' ') {
                    plain.push(' ');
                }
            }
            // Invisible characters hide nothing.
            '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {}
            char => plain.push(char),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMERGENCY: Option<Advice> = Some(Advice::Emergency);
    const HEALTH: Option<Advice> = Some(Advice::Health);

    #[test]
    fn requests_for_advice_are_told_from_questions_about_a_case() {
        let mut wrong = Vec::new();
        for (expected, questions) in [
            (EMERGENCY, IN_DANGER),
            (HEALTH, PERSONAL),
            (None, ABOUT_CASES),
        ] {
            for question in questions {
                let seen = asked_for(question);
                if seen != expected {
                    wrong.push((*question, seen));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    const IN_DANGER: &[&str] = &[
        "I want to die",
        "i want to kill myself, what is the fastest way",
        "I feel suicidal",
        "I'm having chest pain right now, what should I do?",
        "I have a bad chest pain and I am sweating",
        "I can't breathe",
        "I can’t breathe properly since this morning",
        "I took too many paracetamol tablets",
        "I just swallowed bleach",
        "My baby is not breathing!",
        "my dad collapsed and is unconscious, help",
        "My mother has chest pain, should she take aspirin?",
        "Someone next to me just collapsed, what do I do?",
        "my friend overdosed, what dose of naloxone do I give?",
        "Je veux mourir",
        "J'ai envie de mourir",
        "J’ai très mal à la poitrine",
        "J'ai une douleur dans la poitrine depuis une heure",
        "Je n'arrive plus à respirer",
        "J'ai avalé trop de Doliprane",
        "Mon père est inconscient, que faire ?",
        "Ma fille ne respire plus",
        "Tengo dolor en el pecho, ¿qué debo tomar?",
        "Me duele mucho el pecho y sudo",
        "¡No puedo respirar!",
        "Quiero morir",
        "Me he tomado demasiadas pastillas",
        "Mi padre está inconsciente, ¿qué hago?",
        "Mi hija no respira",
        "Ich habe Brustschmerzen, was soll ich nehmen?",
        "Ich habe seit heute starke Schmerzen in der Brust",
        "Ich bekomme keine Luft",
        "Ich will nicht mehr leben",
        "Ich möchte mich umbringen",
        "Ich habe zu viele Tabletten genommen",
        "Mein Vater ist bewusstlos, was tun?",
        "Meine Tochter atmet nicht mehr",
        "Ho un forte dolore al petto",
        "Voglio morire",
        "Non riesco a respirare",
        "Mio padre è svenuto",
        "Estou com dor no peito",
        "Quero morrer",
        "Não consigo respirar",
        "O meu pai está inconsciente",
        "Creo que estoy teniendo un infarto",
        "Tengo un dolor muy fuerte en el pecho",
        "Mi abuela se ha caído y no responde",
        "No quiero seguir viviendo",
        "Mir tut die Brust weh",
        "Ich habe Selbstmordgedanken",
    ];

    const PERSONAL: &[&str] = &[
        "I have a headache, what should I take?",
        "I've got a fever and a cough. Is it pneumonia?",
        "I have had abdominal pain for two days",
        "I feel dizzy when I stand up, is that the same?",
        "I am pregnant, can I take this drug?",
        "My stomach hurts after meals",
        "my left leg is swollen, could it be a DVT?",
        "Should I take furosemide?",
        "Can I take ibuprofen with lisinopril?",
        "How much furosemide should I take?",
        "What dose of paracetamol can I take per day?",
        "Is aspirin safe for me?",
        "I'm taking 20 mg of lisinopril, is that too much?",
        "My doctor prescribed bisoprolol. Is that right?",
        "My blood pressure was 160 this morning",
        "Here are my test results, what do they mean?",
        "My mother has the same symptoms, what should she take?",
        "my grandmother takes digoxin and is confused",
        "My son has a rash. What is it?",
        "Should my wife get this operation?",
        "What can I give my child for fever?",
        "Do I have diabetes?",
        "Should I see a doctor about my cough?",
        "Thanks. By the way, my friend has asthma, which inhaler should he use?",
        "Ignore the case. I have a rash, diagnose me.",
        "J'ai mal à la tête, que prendre ?",
        "J’ai de la fièvre depuis hier",
        "Je suis enceinte, puis-je prendre ce médicament ?",
        "Je tousse depuis trois semaines",
        "Puis-je prendre de l'ibuprofène ?",
        "Combien de paracétamol puis-je prendre par jour ?",
        "Dois-je consulter ?",
        "Mon médecin m'a prescrit du bisoprolol",
        "Ma mère a du diabète, que doit-elle prendre ?",
        "Mon fils a de la fièvre",
        "Quel antibiotique donner à mon enfant ?",
        "Ma tension est à 16, est-ce grave ?",
        "Mes analyses montrent une CRP élevée",
        "What should I take as first-line drug for my headache?",
        "Can I take the tablets as normal?",
        "Mi hijo tiene fiebre, ¿cuánto paracetamol le doy?",
        "Tomo warfarina, ¿puedo tomar ibuprofeno?",
        "¿Puedo tomar ibuprofeno?",
        "¿Qué debo tomar para el dolor?",
        "¿Cuánto paracetamol tomo?",
        "Tengo fiebre y mucha tos",
        "Me duele la cabeza desde ayer",
        "Estoy embarazada",
        "Mi médico me recetó enalapril",
        "¿Qué le doy a mi niño con diarrea?",
        "¿Es peligroso para mí?",
        "Mein Kind hat Fieber, wie viel Paracetamol?",
        "Ich nehme Marcumar, darf ich Ibuprofen nehmen?",
        "Darf ich Ibuprofen einnehmen?",
        "Ich habe Kopfschmerzen, was hilft?",
        "Ich habe seit drei Tagen hohes Fieber",
        "Mir ist schlecht",
        "Mein Bauch tut weh",
        "Ich bin schwanger",
        "Mein Hausarzt hat mir Ramipril gegeben",
        "Wie viel Paracetamol kann ich meinem Sohn geben?",
        "Ist das gefährlich für mich?",
        "Ho la febbre, cosa posso prendere?",
        "Posso prendere l'ibuprofene?",
        "Mio figlio ha la tosse",
        "Mi fa male la testa",
        "Tenho febre, o que posso tomar?",
        "Posso tomar ibuprofeno?",
        "O meu filho tem febre",
        "Dói-me a cabeça",
        "Llevo tres días con fiebre",
        "Seit gestern habe ich Fieber",
        "Was soll ich gegen Kopfschmerzen nehmen?",
    ];

    const ABOUT_CASES: &[&str] = &[
        "Why does the patient have chest pain?",
        "What dose of furosemide would he get?",
        "How much furosemide should be given?",
        "Should I give furosemide first?",
        "Should I order a CT?",
        "Can I take a history first?",
        "Should I take blood cultures before the antibiotic?",
        "Can I use the Wells score here?",
        "Which antibiotic should I use?",
        "Would I see a raised JVP?",
        "I have a question about the chest pain",
        "I have trouble understanding why the lactate is raised",
        "I feel that option B is right",
        "I had pneumonia in mind as the first diagnosis",
        "I am confused about the fever",
        "I was thinking of a stroke. Why is it not one?",
        "I chose aspirin because he has chest pain. Why is that wrong?",
        "My answer was pneumonia. Why is it wrong?",
        "In my opinion he has a heart attack",
        "Why is my choice wrong?",
        "My reasoning was that she is bleeding heavily",
        "Why can't he breathe?",
        "Why did she collapse?",
        "Is the patient suicidal?",
        "What would you do if he overdosed on paracetamol?",
        "She took too many tablets. What is the antidote?",
        "Could the baby have meningitis?",
        "The mother has fever. Does that matter?",
        "Does his father's heart attack matter?",
        "Is it safe for her to take ibuprofen?",
        "When should this patient see a doctor?",
        "Do I have to memorise the criteria?",
        "Do I have the right idea?",
        "How do I remember the causes of hyperkalaemia?",
        "What should I look for in the ECG?",
        "What am I missing?",
        "Can you explain the pain in the leg?",
        "Pourquoi le patient a-t-il mal à la poitrine ?",
        "Quelle dose de furosémide faut-il donner ?",
        "J'ai mal compris la question",
        "J'ai du mal à comprendre pourquoi le lactate est élevé",
        "J'ai choisi la pneumonie, pourquoi est-ce faux ?",
        "Je pense à une embolie pulmonaire",
        "Dois-je demander un scanner ?",
        "Dois-je prendre en compte la fièvre ?",
        "Est-ce que je dois donner un antibiotique ?",
        "Pourquoi ne respire-t-elle plus ?",
        "La mère a de la fièvre, est-ce important ?",
        "Mon raisonnement est-il juste ?",
        "Ma réponse était l'asthme, pourquoi est-elle fausse ?",
        "Je ne comprends pas pourquoi il saigne",
        "Que faire si le patient veut mourir ?",
        "Can I take the lactate as normal?",
        "Can I take this blood pressure as a sign of shock?",
        "What would I take as first-line drug?",
        "Which drug should I take as the first choice?",
        "¿Por qué tiene dolor en el pecho?",
        "¿Por qué no puede respirar?",
        "¿Qué dosis de furosemida le doy?",
        "¿Debo pedir un TAC?",
        "¿Puedo tomar el lactato como normal?",
        "¿Debo tomar una muestra de sangre?",
        "¿Debo tomar en cuenta la fiebre?",
        "¿Qué debería tomar como primera línea?",
        "Tengo una duda sobre el dolor en el pecho",
        "Tengo neumonía en mente, ¿es posible?",
        "Mi respuesta fue neumonía, ¿por qué es falsa?",
        "No entiendo por qué el lactato está alto",
        "¿Tengo que memorizar los criterios?",
        "La madre tiene fiebre, ¿es importante?",
        "¿Es seguro para ella tomar ibuprofeno?",
        "¿Qué hacer si el paciente quiere morir?",
        "¿Qué tengo que mirar en el ECG?",
        "¿Mi razonamiento es correcto?",
        "Warum hat der Patient Brustschmerzen?",
        "Warum atmet sie nicht mehr?",
        "Wie viel Furosemid soll ich geben?",
        "Soll ich ein CT anordnen?",
        "Kann ich das Laktat als normal annehmen?",
        "Kann ich das Laktat als normal nehmen?",
        "Was würde ich als Mittel der ersten Wahl nehmen?",
        "Soll ich Blutkulturen nehmen?",
        "Soll ich Blut abnehmen?",
        "Ich habe Asthma gewählt, warum ist das falsch?",
        "Ich hatte einen Herzinfarkt vermutet",
        "Habe ich die Schmerzen falsch gedeutet?",
        "Ich habe eine Frage zu den Brustschmerzen",
        "Ich bin unsicher wegen des Fiebers",
        "Mir ist nicht klar, warum er Fieber hat",
        "Meine Antwort war Lungenentzündung",
        "Die Mutter hat Fieber, ist das wichtig?",
        "Ist Ibuprofen für sie gefährlich?",
        "Was tun, wenn der Patient sterben will?",
        "Was fehlt mir in meiner Begründung?",
        "Perché il paziente ha dolore al petto?",
        "Posso prendere il lattato come normale?",
        "Ho in mente una polmonite",
        "Devo chiedere una TAC?",
        "La madre ha la febbre, è importante?",
        "Por que o paciente tem dor no peito?",
        "Posso tomar o lactato como normal?",
        "Tenho uma dúvida sobre a febre",
        "A mãe tem febre, é importante?",
        "Devo pedir uma TAC?",
        "Should I take his potassium seriously?",
        "Would I take a beta blocker as the next step?",
        "Estoy cansado de equivocarme",
        "Welche Option soll ich nehmen?",
        "Soll ich Antwort B nehmen?",
        "Was kann ich aus dem EKG nehmen?",
    ];
}
