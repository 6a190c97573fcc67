use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{names, number};

/// What may stand in the place of something removed.
pub(super) const PLACES: [&str; 5] = ["address", "date", "link", "name", "number"];

/// A name that is written as one, of one to four words.
const NAME: &str = r"[A-ZÀ-ÖØ-Þ][\w'’-]*(?:[ \t]+(?:(?:de|da|du|von|van|der|del|la|el|al|bin|ben|di|dos)[ \t]+)*[A-ZÀ-ÖØ-Þ][\w'’-]*){0,3}";

const MONTH: &str = "(?:jan(?:uary|vier|uar|eiro)?|enero|gennaio|feb(?:ruary|ruar|rero|braio)?|f[ée]vr(?:ier)?|fevereiro|mar(?:ch|s|z|zo|ço)?|märz|apr(?:il|ile)?|avr(?:il)?|abril|may|mai|mayo|maggio|maio|june?|juin|juni|junio|giugno|junho|july?|juil(?:let)?|juli|julio|luglio|julho|aug(?:ust)?|ao[ûu]t|agosto|sep(?:t|tember|tembre|tiembre)?|settembre|setembro|oct(?:ober|obre|ubre)?|okt(?:ober)?|ottobre|outubro|nov(?:ember|embre|iembre|embro)?|dec(?:ember)?|d[ée]c(?:embre)?|dez(?:ember|embro)?|dic(?:iembre|embre)?)";

/// What removes one form. In the order of [`RULES`]: what comes first wins.
struct Rule {
    form: Regex,
    /// What stands in its place, or `None` if it is to stay; given what follows it.
    judge: Judge,
}

enum Judge {
    Always(&'static str),
    By(fn(&Captures<'_>, &str) -> Option<String>),
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let always = |pattern: &str, place| Rule {
        form: form(pattern),
        judge: Judge::Always(place),
    };
    let by = |pattern: &str, judge: fn(&Captures<'_>, &str) -> Option<String>| Rule {
        form: form(pattern),
        judge: Judge::By(judge),
    };
    let title = format!(r"(?:(?:{})\b\.?[ \t]+)", names::TITLES.join("|"));
    vec![
        always(r"(?i)\b(?:https?|ftp)://\S+|\bwww\.\S+", "[link]"),
        always(r"[\w.+%'’-]+@[\w-]+(?:\.[\w-]+)+", "[address]"),
        always(
            r"(?i)\b[\w.+-]+(?:\s*[(\[]\s*at\s*[)\]]\s*|\s+at\s+)[\w-]+(?:\s*[(\[]\s*dot\s*[)\]]\s*|\s+dot\s+)[a-z]{2,}\b",
            "[address]",
        ),
        always(
            r"(?i)\b(?:[\w-]+\.)+(?:(?:com|org|net|edu)\b(?:/\S*)?|[a-z]{2,6}/(?:in|u|user|users|profile|people)/\S+|me/\S+)",
            "[link]",
        ),
        // Handles, and those with a number behind them.
        always(
            r"(?P<lead>^|[\s(,;:])@[A-Za-z_][\w.-]{2,}",
            "${lead}[address]",
        ),
        always(r"\b[A-Za-z_][\w.]{1,31}#\d{4}\b", "[address]"),
        // Machines.
        by(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", machine),
        always(
            r"(?i)\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b|\b(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6}\b|\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b",
            "[address]",
        ),
        always(
            r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            "[number]",
        ),
        // Accounts.
        by(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{1,4}){3,8}\b", account),
        // Numbers that say what they are.
        by(
            &format!(r"(?i)\b(?P<lead>(?:{LABEL})\b{LINK})(?P<value>{ID})"),
            labelled,
        ),
        always(r"(?i)\b(?P<lead>mrn)[-_]?\d[\w-]*", "${lead} [number]"),
        always(
            r"(?i)\b(?P<lead>(?:user[ -]?name|login|screen name|handle|nutzername|benutzername|nom d['’]utilisateur|identifiant)\s*(?:is|est|ist|[:=])\s*)[\w.@-]+",
            "${lead}[address]",
        ),
        // A number of the National Insurance.
        always(
            r"\b[A-Z]{2}[ ]?\d{2}[ ]?\d{2}[ ]?\d{2}[ ]?[A-D]\b",
            "[number]",
        ),
        // Days, such as that of a birth.
        always(
            r"\b(?:19|20)\d{2}[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])\b",
            "[date]",
        ),
        always(
            &format!(
                r"(?i)\b\d{{1,2}}(?:st|nd|rd|th|er|º|\.)?[ \t]+(?:of[ \t]+|de[ \t]+)?{MONTH}\b\.?,?[ \t]+(?:de[ \t]+)?\d{{4}}\b|\b{MONTH}\b\.?[ \t]+\d{{1,2}}(?:st|nd|rd|th)?,?[ \t]+\d{{4}}\b"
            ),
            "[date]",
        ),
        always(
            &format!(
                r"(?i)\b(?P<lead>(?:born(?: on)?|dob|d\.o\.b\.?|date of birth|birthda(?:y|te)(?: is| on)*|née? le|geboren am|geburtsdatum|nacid[oa] el|nat[oa] il)[ \t:]+(?:the )?)(?:\d{{1,2}}(?:st|nd|rd|th|er|\.)?[ \t]+(?:of[ \t]+|de[ \t]+)?{MONTH}|{MONTH}[ \t]+\d{{1,2}}(?:st|nd|rd|th)?|\d{{1,2}}[/.-]\d{{1,2}}(?:[/.-]\d{{2,4}})?)\b"
            ),
            "${lead}[date]",
        ),
        // Houses.
        always(&houses(), "[address]"),
        // Telephones with a country, then all other long numbers.
        always(
            r"(?:\+|\b00)[ ]?[1-9]\d{0,2}(?:[ \t./()\u{a0}-]{0,3}\d){6,}",
            "[number]",
        ),
        by(
            r"\+?\(?\d(?:[ \t.()\u{a0}\u{202f}-]{0,2}\d){6,}",
            number::judge,
        ),
        always(
            r"\b(?:\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})|\d{1,2}\.\d{1,2}\.(?:\d{4}|\d{2})|\d{1,2}-\d{1,2}-(?:\d{4}|\d{2}))\b",
            "[date]",
        ),
        // Names.
        by(
            &format!(
                r"(?P<lead>{INTRODUCTION}[ \t]+)(?P<words>\w[\w'’-]*(?:[ \t]+[\w'’-]+){{0,4}})"
            ),
            names::introduced,
        ),
        always(
            r"\b(?P<lead>(?i:I am|I['’]?m|je suis|ich bin)[ \t]+(?i:dr|prof|doctor|professor)\b\.?[ \t]+)[a-zß-öø-ÿ][\w'’-]*",
            "${lead}[name]",
        ),
        by(
            &format!(r"\b(?P<lead>{title}+)(?P<name>{NAME})"),
            names::stated,
        ),
        by(
            &format!(
                r"\b(?P<lead>(?:[Ii] am|[Ii]['’]?m|[Jj]e suis|[Ii]ch bin|[Cc]all me)[ \t]+)(?P<name>[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]+(?:['’-]\w+)?(?:[ \t]+{NAME})?)"
            ),
            names::stated,
        ),
        always(
            &format!(
                r"(?m)(?P<lead>(?:^|[.?!:)]\s)[ \t]*{FAREWELL}[ \t]*[,!.]?\s+)(?:{NAME}|[a-zß-öø-ÿ][\w'’-]*)(?P<end>[ \t]*[.!]?[ \t]*$)"
            ),
            "${lead}[name]${end}",
        ),
        always(
            &format!(r"(?P<lead>\n[ \t]*(?:—|–|--|~)[ \t]*){NAME}\s*\z"),
            "${lead}[name]",
        ),
    ]
});

/// What a number may be called that identifies a person.
const LABEL: &str = r"mrn|medical record(?: number| no)?|(?:patient|hospital|student|member|insurance|policy|national|matriculation|registration|employee|case file|health card|account|licen[cs]e|gmc|npi)[ -]?(?:ids?|identifier|number|no|nr|code)|nhs(?: number| no)?|ssn|social security(?: number| no)?|passport(?: number| no)?|passeport|reisepass|personalausweis|matrikelnummer|matrikel|versichertennummer|versicherungsnummer|krankenkasse(?:nnummer)?|num[ée]ro (?:d['’][ée]tudiant|[ée]tudiant|de s[ée]cu(?:rit[ée] sociale)?|de patient|de dossier|fiscal)|carte (?:vitale|d['’]identit[ée]|[ée]tudiante?)|dni|curp|cpf|c[óo]digo fiscal|codice fiscale|(?:id|identity)(?: card)?(?: number| no)?|iban";

/// What stands between such a name and the number.
const LINK: &str = r"[ \t]*(?:\.|:|#|=|n°|nº|\bis\b|\best\b|\bist\b|\bes\b|\bno\b\.?|\bnumber\b|\bnumm?er\b)?[ \t]*(?:\.|:|#|=|\bis\b|\best\b|\bist\b)?[ \t]*";

/// A number as such a name has it.
const ID: &str = r"[a-z]{0,6}[-/]?\d[\w/-]*(?:[ .-]\d[\w/-]*)*";

const INTRODUCTION: &str = r"(?:(?i:\b(?:my|his|her|their|the patient['’]s|patient['’]?s?|full|first|last|friend['’]s) name(?: is|['’]s|:)|\b(?:je m['’]appelle|(?:mon|son) nom est|me llamo|(?:mi|su) nombre es|ich hei(?:ß|ss)e|(?:mein|ihr|sein) name ist|mi chiamo|(?:o )?meu nome é|(?:me )?chamo-me|mijn naam is|ik heet|jag heter|jeg heter))|(?m:^)[ \t]*(?i:(?:sur)?name|nom|nombre|nome)[ \t]*:)";

const FAREWELL: &str = r"(?i:(?:(?:with )?(?:all |my |kind |best |warm )?(?:regards|wishes)|best|sincerely|yours(?: sincerely| truly| faithfully)?|cheers|(?:many )?thanks(?: a lot| again| in advance)?|thank you(?: very much| so much)?|cordialement|bien (?:à vous|cordialement)|amicalement|merci(?: beaucoup| d['’]avance)?|(?:mit )?(?:freundlichen|besten|vielen|herzlichen|liebe|viele|beste) gr(?:ü|ue)(?:ß|ss)en?|lg|mfg|vg|danke|saludos|un saludo|gracias|atentamente|cordiali saluti|grazie|obrigad[oa]|atenciosamente|love|signed))";

fn houses() -> String {
    let tail = r"(?:,?[ \t]+(?:[A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2}|(?:[A-Z]{2}[ \t]+)?\d{4,5}(?:[ \t]+[A-ZÀ-ÖØ-Þ][\w'’-]+)?|[A-ZÀ-ÖØ-Þ][\w'’-]+(?:,?[ \t]+(?:[A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2}|(?:[A-Z]{2}[ \t]+)?\d{4,5}))))?";
    [
        r"\b\d{1,5}[a-z]?,?[ \t]+(?:[A-Z][\w'’-]*[ \t]+){1,4}(?:Street|Road|Rd|Avenue|Ave|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Way|Place|Square|Terrace|Close|Crescent|St)\b\.?",
        r"\b\d{1,4}(?:[ ]?(?:bis|ter))?,?[ \t]+(?i:rue|avenue|av\.|boulevard|bd|place|chemin|allée|impasse|quai|cours|route|calle|avenida|via|piazza|rua)[ \t]+(?:(?:de|du|des|la|le|les|del|della|dos|da|do)[ \t]+|[ld]['’])*[A-ZÀ-ÖØ-Þ0-9][\w'’-]*(?:[ \t-]+[A-ZÀ-ÖØ-Þ][\w'’-]*){0,3}",
        r"\b[A-ZÄÖÜ][\wäöüß-]*(?:straße|strasse|str\.|gasse|allee|platz|weg)[ \t]+\d{1,4}[a-z]?\b",
    ]
    .map(|street| format!("(?:{street}){tail}"))
    .join("|")
}

fn form(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant that tests compile")
}

/// The text without what has a form that identifies a person.
pub(super) fn without_forms(text: &str) -> String {
    let mut kept = Cow::Borrowed(text);
    for rule in RULES.iter() {
        let replaced = match rule.judge {
            Judge::Always(place) => rule.form.replace_all(&kept, place),
            Judge::By(judge) => rule.form.replace_all(&kept, |found: &Captures<'_>| {
                let whole = found.get(0).map_or(0..0, |whole| whole.range());
                judge(found, &kept[whole.end..]).unwrap_or_else(|| kept[whole].to_owned())
            }),
        };
        if let Cow::Owned(replaced) = replaced {
            kept = Cow::Owned(replaced);
        }
    }
    kept.into_owned()
}

/// The address of a machine, and not the beginning of a telephone number.
fn machine(found: &Captures<'_>, after: &str) -> Option<String> {
    let is_byte =
        |part: &str| (part == "0" || !part.starts_with('0')) && part.parse::<u8>().is_ok();
    let goes_on = after.starts_with(['.', '-', ' ']) && after[1..].starts_with(char::is_numeric);
    (found[0].split('.').all(is_byte) && !goes_on).then(|| "[address]".to_owned())
}

/// An account by its check digits (ISO 13616), with what follows it left as it is.
fn account(found: &Captures<'_>, _after: &str) -> Option<String> {
    let text = &found[0];
    // From the longest: the shortest country has 15 characters.
    let ends = (1..=text.len()).rev();
    ends.map(|end| text.split_at(end))
        .find(|(account, rest)| {
            !rest.starts_with(|char: char| char.is_ascii_alphanumeric()) && is_account(account)
        })
        .map(|(_, rest)| format!("[number]{rest}"))
}

fn is_account(text: &str) -> bool {
    let compact: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    if !(15..=34).contains(&compact.len()) {
        return false;
    }
    let moved = compact[4..].iter().chain(&compact[..4]);
    let rest = moved.fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A' + 10)) % 97,
    });
    rest == 1
}

/// The fewest digits of a number that has a name. "Student 12" is no identity.
const LABELLED_DIGITS_MIN: usize = 4;

fn labelled(found: &Captures<'_>, _after: &str) -> Option<String> {
    let digits = found["value"].bytes().filter(u8::is_ascii_digit).count();
    (digits >= LABELLED_DIGITS_MIN).then(|| format!("{}[number]", &found["lead"]))
}
