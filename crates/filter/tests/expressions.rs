//! What someone who writes an expression notices: errors and their places, limits, the names that
//! every message has.

use apogee_filter::{Expression, MAX_DEPTH, MAX_LENGTH, MAX_NAMES, MAX_TERMS, MessageVariables, Outcome, SyntaxError};
use proptest::prelude::*;

const NOTHING: MessageVariables<'_> = MessageVariables { properties: b"", born_timestamp: 0, body_length: 0 };

fn error(text: &str) -> SyntaxError {
    Expression::compile(text).expect_err(text)
}

fn message(properties: &[u8]) -> MessageVariables<'_> {
    MessageVariables { properties, born_timestamp: 1_700_000_000_000, body_length: 5_000_000_000 }
}

fn matches(text: &str, properties: &[u8]) -> bool {
    Expression::compile(text).expect(text).matches(&message(properties))
}

#[test]
fn errors_name_their_place_and_cause() {
    for (text, position, cause) in [
        ("", 1, "expected a name"),
        ("a >", 4, "found the end"),
        ("a == 3", 4, "found '='"),
        ("ä = 1", 1, "unexpected 'ä'"),
        ("a = 'ä' AND b != 1", 15, "unexpected '!'"),
        ("a = 'x", 5, "closing quote"),
        ("a /* b", 3, "*/"),
        ("a NOT 3", 7, "expected BETWEEN, IN"),
        ("a IN ('x', 3)", 12, "expected a string, found '3'"),
        ("a IS AND", 6, "expected NULL or NOT NULL, found AND"),
        ("(a = 1", 7, "expected ')'"),
        ("a > 'x'", 5, "only numbers"),
        ("a BETWEEN 5 AND 1", 11, "greater than its upper bound"),
        ("a = NULL", 5, "IS NULL"),
        ("TRUE = 3", 8, "boolean literal"),
        ("3 IN ('x')", 1, "no property"),
        ("a = 1 AND 'x'", 11, "neither true nor false"),
        ("a = 9223372036854775808", 5, "9223372036854775807"),
        ("a = 0.0", 5, "write 0"),
        ("a = 1e400", 5, "greatest double"),
    ] {
        let error = error(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.message.contains(cause), "{text}: {error}");
    }
    assert!(error(&format!("a = 1 AND IN {}", "x".repeat(1000))).message.len() < 200);
}

#[test]
fn the_texts_that_a_true_expression_needs_are_told() {
    let texts = |text: &str| {
        let expression = Expression::compile(text).expect(text);
        let mut texts: Vec<String> = expression.texts_of("t")?.into_iter().map(str::to_owned).collect();
        texts.sort();
        Some(texts.join(" "))
    };
    for (text, needed) in [
        ("t = 'x'", Some("x")),
        ("'x' = t", Some("x")),
        ("t IN ('y', 'x')", Some("x y")),
        ("a > 3 AND t = 'x' AND b", Some("x")),
        ("t IN ('x', 'y') AND t = 'y'", Some("y")),
        ("t = 'x' OR t = 'y' AND a = 1", Some("x y")),
        ("t = 'x' OR a = 1", None),
        ("t = 3", None),
        ("t <> 'x'", None),
        ("NOT t = 'x'", None),
        ("t NOT IN ('x')", None),
        ("t IS NULL", None),
        ("(t = 'x') = FALSE", None),
        ("t CONTAINS 'x'", None),
        ("a = 'x'", None),
    ] {
        assert_eq!(texts(text).as_deref(), needed, "{text}");
    }
}

#[test]
fn what_is_over_a_limit_is_refused() {
    let limits = [
        (format!("{}a{}", "(".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1)), "nested"),
        ("(".repeat(MAX_LENGTH), "nested"),
        (format!("{} a", "NOT ".repeat(MAX_DEPTH + 1)), "nested"),
        (format!("a{}", " = TRUE".repeat(MAX_DEPTH + 1)), "nested"),
        (format!("a{}", " CONTAINS 'x'".repeat(MAX_DEPTH + 1)), "nested"),
        (format!("a = 1{}", " AND a = 1".repeat(MAX_TERMS / 3)), "operators"),
        (format!("a = '{}'", "x".repeat(MAX_LENGTH)), "bytes"),
        ((0..=MAX_NAMES).map(|at| format!("n{at} = 1 OR ")).collect::<String>() + "TRUE", "names"),
    ];
    for (text, cause) in limits {
        assert!(error(&text).message.contains(cause), "{}: {}", &text[..40], error(&text));
    }
}

#[test]
fn what_is_within_the_limits_is_evaluated() {
    let names: Vec<_> = (0..MAX_NAMES).map(|at| format!("n{at} = '{at}'")).collect();
    let properties: String = (0..MAX_NAMES).map(|at| format!("n{at}\u{1}{at}\u{2}")).collect();
    assert!(matches(&names.join(" AND "), properties.as_bytes()));
    assert!(matches(&format!("{}a = 1{}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH)), b"a\x011\x02"));
    assert!(matches(&format!("a = 2{}", " OR a = 1".repeat(MAX_TERMS / 4 - 1)), b"a\x011\x02"));
    let list: Vec<_> = (0..MAX_LENGTH / 9).map(|at| format!("'{at}'")).collect();
    assert!(matches(&format!("a IN ({})", list.join(",")), b"a\x013000\x02"));
}

#[test]
fn the_rest_after_an_expression_is_reported() {
    for (text, from) in [("a = 1", None), ("a = 1 -- c\n ", None), ("(a = 1))", Some(8)), ("a LIKE 'x%'", Some(3))] {
        assert_eq!(Expression::compile(text).expect(text).ignored_from(), from, "{text}");
    }
}

#[test]
fn every_message_has_names_of_its_own() {
    let properties = b"TAGS\x01TagA\x02KEYS\x01k1 k2\x02a\x01x\x02";
    for text in [
        "_tag = 'TagA' AND TAGS = 'TagA'",
        "_keys CONTAINS 'k2'",
        "_born_time BETWEEN 1699999999999 AND 1700000000001 AND _born_time > 3",
        "_body_length > 3 AND _body_length = 5000000000 AND _body_length < 5.1e9",
    ] {
        assert!(matches(text, properties), "{text}");
    }
    assert!(matches("_tag IS NULL AND _keys IS NULL", b"a\x01x\x02"));
    assert!(!matches("_Tag IS NOT NULL OR _BORN_TIME > 0", properties));
}

#[test]
fn a_property_goes_before_the_name_that_every_message_has() {
    assert!(matches("_tag = 'mine' AND _body_length = '7'", b"_tag\x01mine\x02TAGS\x01TagA\x02_body_length\x017\x02"));
}

#[test]
fn no_value_decides_nothing_and_a_wrong_one_matches_nothing() {
    let outcome =
        |text: &str| Expression::compile(text).expect(text).outcome(&message(b"a\x01x\x02n\x013000000000\x02"));
    assert_eq!(outcome("NOT (m > 1)"), Outcome::Unknown);
    assert_eq!(outcome("a > 1 OR TRUE"), Outcome::Failed);
    assert_eq!(outcome("TRUE OR a > 1"), Outcome::True);
    // The literal's type decides how the property is read.
    assert_eq!((outcome("n > 1"), outcome("n > 1.0")), (Outcome::Failed, Outcome::True));
}

proptest! {
    #[test]
    fn anything_compiles_or_is_refused(text in "\\PC{0,60}") {
        let _ = Expression::compile(&text).map(|compiled| compiled.matches(&NOTHING));
    }

    #[test]
    fn any_sequence_of_words_compiles_or_is_refused(words in prop::collection::vec(
        prop::sample::select(vec!["a", "'x'", "3", "1.5", "NOT", "AND", "OR", "IN", "(", ")", "=", ">", "-", "+", "BETWEEN",
            "IS", "NULL", "CONTAINS", ",", "TRUE", "--", "\n", "/*", "*/", "'"]), 0..40,
    )) {
        let text = words.join(" ");
        if let Err(error) = Expression::compile(&text).map(|compiled| compiled.outcome(&NOTHING)) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{}: {}", text, error);
        }
    }
}
