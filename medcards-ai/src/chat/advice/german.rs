//! Requests for advice in German, in lower case, with plain vowels for umlauts.

use super::Patterns;

const ILLS: &str = r"\w*schmerz(?:en)?|fieber|husten|schnupfen|ubelkeit|erbrechen|durchfall|schwindel|schwindelig|schwindlig|herzrasen|(?:haut)?ausschlag|migrane|atemnot|luftnot|blut im \w+|\w*blutung(?:en)?|schwellung|knoten|kribbeln|\w*krampfe|schlafstorungen|panikattacken?|depression(?:en)?|depressiv|krank|schwanger|mude|grippe|erkaltung|erkaltet|corona|covid|diabetes|diabetiker(?:in)?|bluthochdruck|hohen blutdruck|asthma|krebs|allergie|allergisch|infektion|\w*entzundung|symptome|verstopfung|halsweh|kopfweh|bauchweh|schlaganfall|herzinfarkt";

const FEW: &str = r"(?:ein |eine |einen |etwas |so |sehr |ziemlich |starke[ns]? |leichte[ns]? |hohes |schlimme[ns]? |grosse |schreckliche |seit \S+ |seit \S+ \S+ |immer |immer noch |standig |noch |wieder |auch |oft |manchmal |gerade |jetzt |plotzlich |heute |gestern |die |das |den |viel |diese )*";

const KIN: &str = r"mutter|mama|vater|papa|eltern|frau|mann|ehefrau|ehemann|partner(?:in|s)?|sohn(?:es|s)?|tochter|kind(?:er|ern|es)?|baby|bruder|schwester|oma|opa|grossmutter|grossvater|tante|onkel|cousine?|nichte|neffen?|freund(?:in)?|nachbar(?:in|n)?|kolleg(?:e|en|in)|schwiegermutter|schwiegervater|hund|katze";

pub(super) const DANGER: &str = r"brustschmerz\w*|schmerz\w* in der brust|brust (?:schmerzt|(?:\w+ )?weh)|(?:druck|enge) (?:auf|in) der brust|atemnot|luftnot|keine luft|nicht (?:mehr |richtig )?atm\w+|atmet (?:nicht|kaum|schwer|schlecht)|bewusstlos\w*|ohnmachtig|zusammengebrochen|krampfanfall|krampft|herzinfarkt|schlaganfall|uberdosis|vergift\w+|blutet (?:stark|sehr)|auf zu bluten|erstick\w+|anaphyla\w+";

pub(super) fn patterns() -> Patterns {
    Patterns {
        at_once: vec![
            r"\bich (?:will|mochte|werde|wollte) (?:\w+ ){0,3}(?:sterben|nicht mehr leben)\b|\bmich (?:\w+ )?(?:umbringen|umzubringen|selbst (?:toten|verletzen))\b|\bich habe? (?:\w+ )?(?:selbstmord|suizid)gedanken\b|\bmir (?:das leben (?:zu )?nehmen|etwas (?:anzutun|antun))\b".to_owned(),
            r"\bich (?:kriege|krieg|bekomme|bekomm) (?:\w+ )?keine luft\b|\bich kann (?:\w+ ){0,2}(?:nicht|kaum) (?:mehr |richtig )?atmen\b|\bich ersticke\b".to_owned(),
            r"\bich habe? (?:\w+ ){0,3}(?:zu viele?|alle|eine ganze packung) (?:\w+ ){0,3}(?:geschluckt|eingenommen)\b|\bich habe? (?:\w+ ){0,2}(?:zu viele?|alle|eine ganze packung) (?:\w+ ){0,2}(?:tabletten|pillen|medikamente|paracetamol|ibuprofen) (?:\w+ )?genommen\b".to_owned(),
            r"\bjemand (?:\w+ ){0,5}(?:bewusstlos|zusammengebrochen|atmet nicht|neben mir|vor mir)\b".to_owned(),
        ],
        own: vec![
            format!(r"\b(?:ich (?:habe?|hatte|bin|war|fuhle mich|leide (?:an|unter)|bekomme|spure)|(?:habe?|bin|hatte) ich|wenn ich) {FEW}(?:{ILLS})\b"),
            r"\bmir (?:ist|wird|war) (?:\w+ )?(?:schlecht|ubel|schwindlig|schwindelig|schwarz vor augen)\b|\bmir (?:tut|tun) (?:\w+ ){0,4}weh\b|\b(?:tut|tun) mir (?:\w+ ){0,4}weh\b|\bich (?:huste|blute|erbreche|fuhle mich (?:\w+ )?(?:schlecht|schwach|elend|nicht gut|nicht wohl))\b".to_owned(),
            r"\bmeine? (?:\w+ )?(?:kopf|bauch|rucken|hals|brust|herz|bein|knie|auge|ohr|zahn|arm) (?:\w+ )?(?:tut|schmerzt|ist|brennt|juckt|rast|blutet)\b".to_owned(),
            r"\bmein(?:e|en|em|er)? (?:arzt|arztin|hausarzt\w*|apotheker\w*|blutdruck|blutwerte|laborwerte|blutzucker|cholesterin|medikamente?n?|tabletten|rezept|symptome|schwangerschaft|fieber|husten|\w*schmerzen|krankheit|periode|depression|asthma|diabetes|migrane)\b".to_owned(),
            r"\b(?:darf|kann|soll|sollte|muss|konnte|wurde) ich (?:\S+ ){0,6}(?:nehmen|einnehmen|absetzen|schlucken|zum arzt|ins krankenhaus|in die notaufnahme|den notarzt|mich impfen|mir sorgen|mir spritzen)\b".to_owned(),
            r"\b(?:was|wie ?viel\w*|wie oft|welche dosis|welches medikament) (?:\S+ ){0,4}(?:nehme|nehm) ich\b".to_owned(),
            r"\bich nehme? (?:\S+ ){0,4}(?:mg|tabletten?|taglich|marcumar|warfarin|ibuprofen|paracetamol|metformin|insulin|aspirin|ass|ramipril|sertralin|statine?|antibiotik\w+|antidepressiv\w+|medikamente?)\b|\bmir (?:wurde|hat) (?:\S+ ){0,4}(?:verschrieben|verordnet)\b".to_owned(),
            r"\b(?:gefahrlich|sicher|schlimm|schadlich|normal|gut) (?:fur|fuer) mich\b|\b(?:fur|fuer) mich (?:\w+ )?(?:gefahrlich|sicher|schlimm|schadlich)\b|\bwas fehlt mir\s*$".to_owned(),
            format!(r"\bmein(?:e|en|em|er)? (?:\w+ ){{0,2}}(?:{KIN}) (?:\S+ ){{0,3}}(?:hat|haben|hatte|ist|sind|war|wurde|nimmt|bekommt|braucht|soll|sollte|darf|kann|muss|leidet|hustet|erbricht|blutet|atmet|fuhlt|klagt)\b"),
            format!(r"\b(?:hat|ist|darf|soll|sollte|kann|braucht|fur|fuer|bei|gebe ich|geben|gebe|ich) mein(?:e|en|em|er)? (?:\w+ ){{0,2}}(?:{KIN})\b"),
        ],
        of_the_case: vec![
            r"\b(?:option|antwort\w*) (?:\S+ ){0,3}nehmen\b|\baus (?:dem|der|den) \w+ nehmen\b".to_owned(),
            r"\b(?:darf|kann|soll|sollte|muss|konnte|wurde) ich (?:\S+ ){0,4}(?:als (?:\S+ ){0,3}(?:normal|erhoht|erniedrigt|hoch|niedrig|gegeben|hinweis|beweis|zeichen|antwort|diagnose|grundlage|(?:ersten?|zweiten?) wahl|erstes mittel|erstlinie\w*)|ernst|in kauf|\w*kulturen?|\w*proben?|\w*abstriche?|blut|(?:die|eine) (?:\w*anamnese|\w*biopsie|option|antwort|formel|score)) (?:\S+ ){0,3}(?:an|hin|ab)?nehmen\b".to_owned(),
            r"\b(?:ich habe?|ich hatte|habe? ich|hatte ich) (?:\w+ ){0,3}(?:ubersehen|gedeutet|ausgeschlossen|gewahlt|angekreuzt|vermutet|erwartet|verwechselt|unterschatzt|uberschatzt|bedacht|im (?:kopf|sinn|verdacht)|als (?:\w+ )?(?:diagnose|antwort|erstes|ursache|kriterium))\b".to_owned(),
        ],
    }
}
