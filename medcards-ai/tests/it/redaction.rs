//! What of a student's words never leaves the process, and what of medicine stays.

use medcards_ai::{STUDENT_BYTES_MAX, redacted, redacted_with};
use proptest::prelude::*;

fn check(table: &[(&str, &str)]) {
    for (text, sent) in table {
        assert_eq!(&redacted(text), sent, "{text}");
        assert_eq!(&redacted(sent), sent, "twice changes nothing: {text}");
    }
}

#[test]
fn addresses_of_mail_web_and_machines_are_removed() {
    check(&[
        (
            "write to jane.doe+x@uni-paris.fr please",
            "write to [address] please",
        ),
        ("jane (at) example (dot) com", "[address]"),
        ("jane.doe at example dot org!", "[address]!"),
        ("see https://example.org/u/jane?x=1 now", "see [link] now"),
        ("see www.example.org", "see [link]"),
        ("linkedin.com/in/jane-doe is me", "[link] is me"),
        ("my page t.me/jane", "my page [link]"),
        (
            "DM me @jane_doe99, or jdoe#1234",
            "DM me [address], or [address]",
        ),
        (
            "my username is jdoe and Instagram: @jd.oe",
            "my username is [address] and Instagram: [address]",
        ),
        ("login: jdoe42", "login: [address]"),
        ("from 192.168.10.4", "from [address]"),
        ("from 2001:db8::8a2e:370:7334", "from [address]"),
        (
            "from 2001:0db8:85a3:0000:0000:8a2e:0370:7334",
            "from [address]",
        ),
        ("mac 00:1B:44:11:3A:B7", "mac [address]"),
    ]);
}

#[test]
fn telephone_numbers_are_removed() {
    check(&[
        ("call +33 6 12 34 56 78!", "call [number]!"),
        ("call (555) 123-4567-8", "call [number]"),
        ("call (555) 123-4567", "call [number]"),
        ("call 555-123-4567 today", "call [number] today"),
        ("call 555-1234 today", "call [number] today"),
        ("call 06.12.34.56.78", "call [number]"),
        ("call 06 12 34 56 78", "call [number]"),
        ("call +49 (0)30 / 123456", "call [number]"),
        ("call 0049 30 123456", "call [number]"),
        ("call +1.415.555.2671", "call [number]"),
        ("call 415.555 2671", "call [number]"),
        ("call 020 7946 0958", "call [number]"),
        ("mobile 07700900123", "mobile [number]"),
        (
            "K 6.1 and my phone 0171-2345678",
            "K 6.1 and my phone [number]",
        ),
    ]);
}

#[test]
fn numbers_that_name_a_person_are_removed() {
    check(&[
        ("student number 20231234", "student number [number]"),
        ("student no. S-4821", "student no. [number]"),
        ("id 1234567", "id [number]"),
        ("SSN 123-45-6789", "SSN [number]"),
        ("123-45-6789", "[number]"),
        ("NHS 943 476 5919", "NHS [number]"),
        ("NHS number: 9434765919", "NHS number: [number]"),
        ("MRN 123456, BP 120/80", "MRN [number], BP 120/80"),
        ("MRN: 0012-3456", "MRN: [number]"),
        ("MRN123456", "MRN [number]"),
        (
            "patient id AB-4711 has K 6.1",
            "patient id [number] has K 6.1",
        ),
        ("patient number is 48213", "patient number is [number]"),
        ("Matrikelnummer 482133", "Matrikelnummer [number]"),
        ("numéro étudiant : 482133", "numéro étudiant : [number]"),
        ("passport X1234567", "passport [number]"),
        ("passport no C01X00T47", "passport no [number]"),
        ("insurance number A123 456", "insurance number [number]"),
        ("NI QQ 12 34 56 C", "NI [number]"),
        ("IBAN DE89 3704 0044 0532 0130 00 ok", "IBAN [number] ok"),
        ("pay FR1420041010050500013M02606 now", "pay [number] now"),
        (
            "pay GB82 WEST 1234 5698 7654 32 PLEASE",
            "pay [number] PLEASE",
        ),
        (
            "session 0190b7a8-1c5e-7000-8000-000000000001",
            "session [number]",
        ),
        ("card 4111 1111 1111 1111", "card [number]"),
        ("nir 1 85 05 78 006 084 36", "nir [number]"),
    ]);
}

#[test]
fn days_and_houses_are_removed() {
    check(&[
        ("born 03/04/1999, or 1999-04-03", "born [date], or [date]"),
        ("né le 3.4.99", "né le [date]"),
        ("DOB: 3/4/99", "DOB: [date]"),
        ("born on 3 April 1999 in Lyon", "born on [date] in Lyon"),
        ("born April 3rd, 1999", "born [date]"),
        ("née le 3 avril 1999", "née le [date]"),
        ("geboren am 3. März 1999", "geboren am [date]"),
        ("my birthday is on 3 April", "my birthday is on [date]"),
        (
            "I live at 221b Baker Street, London NW1 6XE.",
            "I live at [address].",
        ),
        ("12 Main St, Springfield", "[address], Springfield"),
        (
            "j’habite 12 bis rue de la Paix, 75002 Paris",
            "j’habite [address]",
        ),
        (
            "ich wohne Hauptstraße 5, 10115 Berlin",
            "ich wohne [address]",
        ),
    ]);
}

#[test]
fn names_are_removed_where_their_place_shows_them() {
    check(&[
        (
            "my name is jane doe and I am tired",
            "my name is [name] and I am tired",
        ),
        (
            "my name is jane and I am tired",
            "my name is [name] and I am tired",
        ),
        (
            "My name is Jane van der Berg. Hello",
            "My name is [name]. Hello",
        ),
        (
            "Je m’appelle Éloïse Dupont, bonjour",
            "Je m’appelle [name], bonjour",
        ),
        ("je m'appelle Zoé", "je m'appelle [name]"),
        ("ich heisse Jürgen Müller", "ich heisse [name]"),
        ("ich heiße jürgen", "ich heiße [name]"),
        ("me llamo José García, gracias", "me llamo [name], gracias"),
        (
            "my patient's name is John Smith.",
            "my patient's name is [name].",
        ),
        ("Name: Ann Lee", "Name: [name]"),
        ("I am Dr Anna Schmidt", "I am Dr [name]"),
        ("i'm dr schmidt by the way", "i'm dr [name] by the way"),
        ("I'm Anna and stuck", "I'm [name] and stuck"),
        (
            "I am Anna-Maria O’Neill, a resident",
            "I am [name], a resident",
        ),
        ("Je suis Marie Curie", "Je suis [name]"),
        ("Ich bin Anna", "Ich bin [name]"),
        (
            "I asked Dr. Smith and Mme Dubois",
            "I asked Dr. [name] and Mme [name]",
        ),
        ("Prof. Dr. Anna Schmidt said so", "Prof. Dr. [name] said so"),
        (
            "Why not furosemide?\n\nBest, Anna",
            "Why not furosemide?\n\nBest, [name]",
        ),
        (
            "Why not furosemide? Thanks, Anna Lee.",
            "Why not furosemide? Thanks, [name].",
        ),
        (
            "Why?\nKind regards,\nAnna Lee",
            "Why?\nKind regards,\n[name]",
        ),
        (
            "Pourquoi ?\nCordialement,\nZoé Roux",
            "Pourquoi ?\nCordialement,\n[name]",
        ),
        ("Warum?\nViele Grüße\nJürgen", "Warum?\nViele Grüße\n[name]"),
        ("Why?\n— Anna", "Why?\n— [name]"),
    ]);
}

#[test]
fn medicine_stays() {
    for text in [
        "",
        "BP 120/80, pulse 96, K 6.1, Hb 13.5, pH 7.21",
        "Na 135, then Na 140; 10 mg/kg",
        "Na 135, 140, 138 in three days",
        "platelets 150000, then 1.5-2.5 mg/kg",
        "1,200,000 units, or 1200000 units, or 1 200 000 units, or 2.400.000 IU",
        "WBC 12000-15000, platelets 150 000 to 400 000",
        "ABG 7.35 40 24.5 98",
        "150-1000 mg and 150-1500 mL over 24 h",
        "1022 (79.2%) of them, 95% CI 0.152-0.224",
        "in 2019, or 2019-2020, or since 1998",
        "CD4 < 200/µL @ baseline, CD20 CD30 CD15 CD45 CD56 positive",
        "the name is Crohn's, a sign of the name Trousseau",
        "I am not sure why; I'm stuck on G6PD",
        "I am HIV positive in this story",
        "the MR is severe, and MS is not the cause",
        "M. tuberculosis and E. coli",
        "Sr. Creatinine 160 µmol/L",
        "5 may be too many, and 10 mar the result",
        "ECG 12 leads, ST elevation in V2-V5, 3 to 4 mm",
        "PR 200 ms, QRS 120 ms, QTc 480 ms",
        "5-HT3, IL-6, HbA1c 8.2 %, Ca-125, vitamin B12, T4 and TSH",
        "patient 12 took 500 mg b.i.d. and id 12",
        "1:10000 adrenaline, ratio 1:2:3, INR 2-3",
        "dose 0.5-1 mg every 3-5 min, max 3 doses",
        "- Furosemide\n- Bisoprolol",
        "Thanks, potassium is clear now: it was 6.8.",
        "The best, Furosemide, was missing",
        "the student chose B. Thanks!",
        "Wilms' tumour, Down syndrome, Graves’ disease",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn names_that_are_known_are_removed_wherever_they_stand() {
    for (text, known, sent) in [
        (
            "anna is stuck, ANNA LEE",
            &["Anna Lee"][..],
            "[name] is stuck, [name] [name]",
        ),
        (
            "Anna's potassium; Hannah's not",
            &["Anna"],
            "[name]'s potassium; Hannah's not",
        ),
        ("eloise and Éloïse", &["Éloïse Roux"], "[name] and [name]"),
        ("an ulcer, says An", &["An Nguyen"], "an ulcer, says [name]"),
        (
            "Jean-Paul of the ward",
            &["Jean-Paul de la Tour"],
            "[name]-[name] of the ward",
        ),
        (
            "A name, a number",
            &["Name Number", "A"],
            "A name, a number",
        ),
        ("私は田中花子です", &["田中花子"], "私は[name]です"),
        ("nothing", &[], "nothing"),
        ("nothing", &["", " ", "-"], "nothing"),
    ] {
        assert_eq!(redacted_with(text, known), sent, "{text}");
    }
}

#[test]
fn a_long_text_is_cut_between_characters_after_redaction() {
    for shift in 0..4 {
        // The cut is within an address and within characters of three bytes.
        let text = format!(
            "{}{}",
            "x".repeat(shift),
            "— jane@example.org ".repeat(1_000)
        );
        let sent = redacted(&text);
        assert!(sent.len() <= STUDENT_BYTES_MAX && sent.len() > STUDENT_BYTES_MAX - 4);
        assert!(!sent.contains("jane"));
    }
}

/// Texts made of what the rules look for, in any order.
fn tricky() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "my name is ",
        "I am ",
        "Dr ",
        "Prof. ",
        "Anna",
        "van der ",
        "Best, ",
        "\n",
        " ",
        ", ",
        "+",
        "00",
        "12 ",
        "34-",
        "5678",
        ".",
        "(",
        ")",
        "@",
        "jane",
        "example.org",
        "www.",
        "http://",
        "MRN ",
        "id ",
        "DE89 ",
        "3704 0044 0532 0130 00",
        "[name]",
        "[number]",
        "[",
        "]",
        "— ",
        "3 ",
        "April ",
        "1999",
        "/",
        "rue de ",
        "Street",
        "é",
        "田中",
        "1200000",
        " units",
        "Name: ",
        "::",
    ]);
    prop::collection::vec(pieces, 0..80).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn redaction_is_bounded_and_twice_is_once(
        text in prop_oneof![any::<String>(), tricky()],
        names in prop::collection::vec(any::<String>(), 0..3),
    ) {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let once = redacted_with(&text, &known);
        prop_assert!(once.len() <= STUDENT_BYTES_MAX);
        prop_assert_eq!(redacted_with(&once, &known), once);
    }

    #[test]
    fn an_address_never_survives(before in tricky(), after in tricky()) {
        let sent = redacted(&format!("{before} zz.top@mail.example {after}"));
        prop_assert!(!sent.contains("zz.top"), "{}", sent);
    }
}
