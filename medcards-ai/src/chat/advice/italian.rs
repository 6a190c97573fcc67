//! Requests for advice in Italian, in lower case and without accents.

use super::Patterns;

const KIN: &str = r"madre|mamma|padre|papa|genitori|moglie|marito|figli[oae]?|bambin[oaie]|bimb[oa]|neonat[oa]|fratello|sorella|nonn[oa]|zi[oa]|cugin[oa]|nipote|amic[oa]|fidanzat[oa]|vicin[oa]|collega|suocer[oa]|cane|gatto";

pub(super) const DANGER: &str = r"dolor[ei] (?:\w+ )?al (?:mio )?petto|male al petto|non (?:\w+ ){0,2}(?:respira\w*)|difficolta a respirare|incoscient\w+|svenut[oa]|privo di sensi|convulsioni|sovradosaggio|sanguina molto|avvelen\w+|soffoc\w+|ictus|un infarto";

pub(super) fn patterns() -> Patterns {
    Patterns {
        at_once: vec![
            r"\bvoglio (?:morire|uccidermi|suicidarmi|farla finita|farmi del male)\b|\b(?:uccidermi|suicidarmi)\b|\bvoglia di morire\b".to_owned(),
            r"\bnon (?:riesco|posso) (?:piu )?(?:a )?respirare\b".to_owned(),
            r"\bho (?:preso|ingerito|ingoiato) (?:troppe|tutte le|una scatola|troppo paracetamolo|troppa tachipirina|candeggina)\b".to_owned(),
            r"\bqualcuno (?:\w+ ){0,4}(?:non respira|svenuto|incosciente|accanto a me|davanti a me)".to_owned(),
        ],
        own: vec![
            r"\b(?:ho|avevo|ho avuto|sento|soffro di|sono|mi sento) (?:un |una |il |la |dei |molto |molta |forte |forti |sempre |ancora |anche |un forte |un po' di |tanto |tanta )*(?:dolor[ei]|male (?:al|alla|allo|ai)|mal di \w+|febbre|tosse|nausea|vomito|diarrea|vertigini|capogiri|palpitazioni|emicrania|prurito|gonfi\w+|crampi|insonnia|l'influenza|raffreddore|covid|diabete|diabetic[oa]|ipertensione|asma|asmatic[oa]|cancro|allergi\w+|infezione|sintomi|malat[oa]|incinta|polmonite|pressione alta|fiato corto)\b".to_owned(),
            r"\bmi (?:fa|fanno) (?:\w+ )?male\b|\bmi (?:gira la testa|sento (?:\w+ )?male|sento svenire|manca il (?:fiato|respiro)|sanguina)\b".to_owned(),
            r"\b(?:posso|devo|dovrei|potrei) (?:\w+ )?(?:prendere|assumere|smettere di prendere|iniettarmi|vaccinarmi|andare (?:dal medico|al pronto soccorso|in ospedale))\b".to_owned(),
            r"\b(?:quanto|quanta|quante|cosa|che dose) (?:\S+ ){0,3}prendo\b|\bprend(?:o|endo) (?:\S+ ){0,3}(?:mg|compresse|pastiglie|al giorno|warfarin|coumadin|ibuprofene|paracetamolo|tachipirina|metformina|insulina|aspirina|cardioaspirina|antibiotici|farmaci)\b".to_owned(),
            r"\b(?:mio medico|mia dottoressa|mia pressione|mie analisi|miei sintomi|mia febbre|mia gravidanza|miei farmaci|mie medicine)\b|\b(?:pericoloso|sicuro|grave|normale) per me\b".to_owned(),
            format!(r"\b(?:mi[oae]|miei) (?:\w+ ){{0,2}}(?:{KIN}) (?:\S+ ){{0,3}}(?:ha|hanno|e|sono|sta|si|non|prende|deve|dovrebbe|puo|soffre|tossisce|vomita|sanguina|respira)\b"),
            format!(r"\b(?:a|al|alla|ai|alle|per|con) (?:il |la )?(?:mi[oae]|miei) (?:\w+ ){{0,2}}(?:{KIN})\b"),
        ],
        of_the_case: vec![
            r"\b(?:posso|devo|dovrei|potrei) (?:\w+ )?prendere (?:(?:in (?:considerazione|esame)|per|come|(?:il |la |una? )?(?:polso|pressione|temperatura|campione|biopsia|anamnesi|emocolture))\b|(?:il|la|i|le) (?:\S+ ){1,3}come (?:\S+ ){0,2}(?:normal[ei]|alt[oa]|elevat[oa]|bass[oa]|segno|prova)\b)".to_owned(),
            r"\b(?:ho|avevo|ho avuto) (?:\w+ ){0,3}in mente\b".to_owned(),
        ],
    }
}
