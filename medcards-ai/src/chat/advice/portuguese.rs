//! Requests for advice in Portuguese, in lower case and without accents.

use super::Patterns;

const KIN: &str = r"mae|mamae|pai|papai|pais|esposa|mulher|marido|filh[oa]s?|crianca|bebe|irma|irmao|avo|vovo|ti[oa]|prim[oa]|sobrinh[oa]|amig[oa]|namorad[oa]|vizinh[oa]|colega|sogr[oa]|cao|cachorro|gat[oa]";

pub(super) const DANGER: &str = r"dor(?:es)? (?:\w+ )?no peito|nao (?:\w+ )?respir\w+|falta de ar|inconsciente|desmai\w+|convuls\w+|enfarte|infarto|avc|overdose|sangra(?:ndo)? muito|envenen\w+|sufoc\w+|engasg\w+";

pub(super) fn patterns() -> Patterns {
    Patterns {
        at_once: vec![
            r"\b(?:quero|queria|vou) (?:morrer|me matar|matar-me|me suicidar|suicidar-me|acabar com (?:a minha|minha) vida)\b|\bvontade de morrer\b".to_owned(),
            r"\bnao (?:consigo|posso) respirar\b".to_owned(),
            r"\b(?:tomei|engoli|ingeri) (?:demasiad[oa]s|muitos comprimidos|tod[oa]s os|uma caixa|lixivia|veneno)\b".to_owned(),
            r"\balguem (?:\w+ ){0,4}(?:nao respira|desmaiou|inconsciente|ao meu lado|a minha frente)".to_owned(),
        ],
        own: vec![
            r"\b(?:estou|tenho|tive|tinha|sinto|sofro de|sou|estou com|ando com|fiquei) (?:um |uma |muito |muita |muitas |alguma |forte |sempre |ainda |tambem |um pouco de )*(?:dor(?:es)?|febre|tosse|nauseas?|enjoos?|vomitos?|diarreia|tonturas?|palpitacoes|erupcao|enxaqueca|falta de ar|sangramento|inchaco|inchad[oa]|formigueiro|formigamento|insonia|ansiedade|gripe|resfriado|constipad[oa]|covid|diabetes|diabetic[oa]|hipertensao|hipertens[oa]|(?:pressao|tensao) alta|asma|asmatic[oa]|cancro|cancer|alergi\w+|infeccao|sintomas?|doente|gravida|pneumonia)\b".to_owned(),
            r"\b(?:doi|doem)-me\b|\bme (?:doi|doem)\b|\b(?:minha|meu)s? (?:cabeca|peito|barriga|garganta|perna|braco|coracao|olho|dente|costas) (?:\w+ )?(?:doi|doem|esta|arde|sangra)\b".to_owned(),
            r"\b(?:posso|devo|deveria|poderia|preciso de?) (?:\w+ )?(?:tomar|parar de tomar|vacinar-me|me vacinar|ir (?:ao (?:medico|hospital|pronto)|as? urgencias?))\b".to_owned(),
            r"\b(?:que|quanto|quantos|quantas) (?:\S+ ){0,3}tomo\b|\b(?:tomo|tomando) (?:\S+ ){0,3}(?:mg|comprimidos?|por dia|varfarina|warfarina|ibuprofeno|paracetamol|metformina|insulina|aspirina|antibioticos?|remedios?|medicamentos?)\b".to_owned(),
            r"\b(?:meu medico|minha medica|minha pressao|minha tensao|minhas analises|meus sintomas|minha febre|minha gravidez|meus remedios|meus medicamentos)\b|\b(?:perigoso|seguro|grave|normal) para mim\b".to_owned(),
            format!(r"\b(?:meus?|minhas?) (?:\w+ ){{0,2}}(?:{KIN}) (?:\S+ ){{0,3}}(?:tem|teve|esta|estao|e|toma|sofre|vomita|tosse|sangra|respira|nao|se|deve|pode|precisa|desmaiou)\b"),
            format!(r"\b(?:ao?|para(?: [oa])?|com) (?:meus?|minhas?) (?:\w+ ){{0,2}}(?:{KIN})\b"),
        ],
        of_the_case: vec![
            r"\b(?:posso|devo|deveria|poderia) (?:\w+ )?tomar (?:(?:em conta|como|por|(?:a |o |uma? )?(?:tensao|pressao|pulso|temperatura|amostra|biopsia|historia|decisao))\b|(?:o|a|os|as) (?:\S+ ){1,3}(?:como|por) (?:\S+ ){0,2}(?:norma(?:l|is)|alt[oa]|elevad[oa]|baix[oa]|sinal|prova)\b)".to_owned(),
            r"\b(?:tenho|tinha|tive) (?:\w+ ){0,3}em mente\b".to_owned(),
        ],
    }
}
