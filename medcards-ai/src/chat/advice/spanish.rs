//! Requests for advice in Spanish, in lower case and without accents.

use super::Patterns;

const ILLS: &str = r"dolor(?:es)?|fiebre|tos|mareos?|maread[oa]|nauseas?|vomitos?|diarrea|palpitaciones|sarpullido|erupcion|migranas?|jaquecas?|falta de aire|ahogos?|sangrado|sangre en|hinchazon|hinchad[oa]s?|bultos?|hormigueo|calambres?|insomnio|ansiedad|depresion|deprimid[oa]|gripe|resfriado|covid|diabetes|diabetic[oa]|hipertension|hipertens[oa]|asma|asmatic[oa]|cancer|alergias?|alergic[oa]|infeccion|sintomas?|enferm[oa]|embarazada|neumonia|(?:tension|presion|azucar) alta|estrenimiento|debilidad|escalofrios|un (?:infarto|derrame)";

const FEW: &str = r"(?:teniendo |un |una |unos |unas |el |la |los |las |algo de |un poco de |poca |mucho |mucha |muchos |muchas |muy |tan |tanto |tanta |fuertes? |intenso |leve |alta |siempre |todavia |ya |tambien |otra vez |estos |estas |mal )*";

const KIN: &str = r"madre|mama|padre|papa|padres|espos[oa]|mujer|marido|pareja|hij[oa]s?|nin[oa]s?|bebe|herman[oa]s?|abuel[oa]s?|ti[oa]|prim[oa]|sobrin[oa]|amig[oa]s?|novi[oa]|vecin[oa]|colega|suegr[oa]|perr[oa]|gat[oa]";

pub(super) const DANGER: &str = r"dolor(?:es)? (?:\w+ ){0,3}(?:en|de) (?:el |mi )?pecho|(?:duele|oprime|aprieta) (?:mucho )?el pecho|no (?:puede |puedo |esta )?respir\w+|(?:cuesta|dificultad para) respirar|falta (?:de|el) aire|ahog\w+|inconsciente|no responde|desmay\w+|desplom\w+|convulsion\w*|infarto|ataque al corazon|derrame|ictus|sobredosis|sangra mucho|(?:deja|para) de sangrar|envenen\w+|atragant\w+|anafila\w+";

pub(super) fn patterns() -> Patterns {
    Patterns {
        at_once: vec![
            r"\b(?:quiero|queria|quisiera|deseo|voy a) (?:morir(?:me)?|matarme|suicidarme|hacerme dano|acabar con (?:mi vida|todo)|quitarme la vida)\b|\bno quiero (?:seguir )?vivi(?:r|endo)\b|\bganas de (?:morir(?:me)?|matarme|suicidarme)\b|\b(?:matarme|suicidarme|quitarme la vida)\b".to_owned(),
            r"\bno (?:puedo|consigo|logro) respirar\b|\bcasi no (?:puedo respirar|respiro)\b|\bme ahogo\b".to_owned(),
            r"\b(?:he (?:tomado|tragado|ingerido)|tome|trague|ingeri) (?:demasiad[oa]s?|muchas|tod[oa]s? (?:las|el|los|mis)|una caja|lejia|veneno)\b".to_owned(),
            r"\bme (?:esta dando|va a dar|ha dado) un (?:infarto|ataque|derrame|ictus)\b".to_owned(),
            r"\balguien (?:\w+ ){0,4}(?:no respira|inconsciente|desmay\w+|desplom\w+|a mi lado|delante de mi|en la calle)".to_owned(),
        ],
        own: vec![
            format!(r"\b(?:llevo (?:\w+ ){{1,3}}con|tengo|tenia|tuve|he tenido|siento|sufro(?: de)?|padezco(?: de)?|estoy|me siento|soy) {FEW}(?:{ILLS})\b"),
            r"\bme (?:duelen?|dolia|pica|pican|arde|sangra|mareo|encuentro (?:\w+ )?mal|siento (?:\w+ )?(?:mal|rar[oa])|cuesta respirar|falta el aire|desmay[eo])\b".to_owned(),
            r"\bmi (?:medic[oa]|doctora?|farmaceutic[oa]|medicacion|receta|tension|presion|glucosa|colesterol|embarazo|fiebre|tos|dolor|enfermedad|regla|analitica|diabetes|asma|migrana)\b|\bmis (?:sintomas|analisis|analiticas|medicinas|medicamentos|pastillas|dolores|resultados (?:de|medicos))\b".to_owned(),
            r"\b(?:puedo|debo|deberia|podria|tengo que) (?:\w+ )?(?:tomar(?:me)?|(?:dejar de|seguir) tomar|inyectarme|ponerme|beber|preocuparme|vacunarme|operarme|hacerme|ir (?:al (?:medico|doctor|hospital)|a urgencias)|llamar (?:al (?:medico|112|911)|a (?:una ambulancia|urgencias)))\b".to_owned(),
            r"\b(?:que|cuant[oa]s?|cada cuanto) (?:\S+ ){0,4}(?:me )?(?:tomo|inyecto)\b".to_owned(),
            r"\b(?:tomo|tomando) (?:\S+ ){0,3}(?:mg|pastillas?|comprimidos?|al dia|cada dia|warfarina|sintrom|ibuprofeno|paracetamol|metformina|insulina|aspirina|omeprazol|enalapril|lisinopril|sertralina|estatinas?|antibioticos?|antidepresivos?|medicacion|medicamentos?)\b|\bme (?:recetaron|receto|han recetado|diagnosticaron|han diagnosticado)\b".to_owned(),
            r"\b(?:peligros[oa]|segur[oa]|mal[oa]|buen[oa]|normal|grave) para mi\b|\bque (?:me pasa|es lo que tengo)\b|\bque tengo\s*$|\btengo (?:algo grave|cancer)\b|\bestoy embarazada\b".to_owned(),
            format!(r"\bmis? (?:\w+ ){{0,2}}(?:{KIN}) (?:\S+ ){{0,3}}(?:tienen?|tuvo|tenia|esta|estan|es|toman?|tomo|sufre|padece|vomita|tose|sangra|respira|siente|se|no|ha|debe|deberia|puede|necesita)\b"),
            format!(r"\b(?:a|para|con|de) mis? (?:\w+ ){{0,2}}(?:{KIN})\b"),
        ],
        of_the_case: vec![
            r"\b(?:puedo|debo|deberia|podria|tengo que) (?:\w+ )?tomar (?:(?:en cuenta|en serio|como|por|(?:la |el |una? )?(?:tension|presion|pulso|temperatura|muestras?|biopsia|historia|decision|anamnesis|hemocultivos?|cultivos?))\b|(?:el|la|los|las|este|esta|su) (?:\S+ ){1,3}(?:como|por) (?:\S+ ){0,2}(?:normal(?:es)?|alt[oa]s?|baj[oa]s?|elevad[oa]s?|signo|dato|pista|prueba|primera)\b)".to_owned(),
            r"\b(?:puedo|debo|deberia|podria) (?:\w+ )?tomar (?:\S+ ){0,2}como (?:\S+ ){0,2}(?:primera (?:linea|eleccion|opcion)|primera|tratamiento inicial)\b".to_owned(),
            r"\b(?:tengo|tenia|tuve|he tenido) (?:\w+ ){0,4}en (?:mente|la cabeza|cuenta|la lista)\b".to_owned(),
        ],
    }
}
