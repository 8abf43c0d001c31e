//! Expressions, generated at random, have the outcome that upstream's classes give them.

use std::collections::HashMap;

use apogee_filter::{Expression, Outcome, Variable, Variables};

struct Properties<'t>(HashMap<&'t str, &'t str>);

impl Variables for Properties<'_> {
    fn get(&self, name: &str) -> Option<Variable<'_>> {
        self.0.get(name).copied().map(Variable::Text)
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        out.push(match char {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                other => other.expect("an escaped character"),
            },
            other => other,
        });
    }
    out
}

fn outcomes(expression: &str, sets: &[Properties<'_>]) -> String {
    let Ok(compiled) = Expression::compile(expression) else { return "E".to_owned() };
    let letter = |set| match compiled.outcome(set) {
        Outcome::True => 'T',
        Outcome::False => 'F',
        Outcome::Unknown => 'N',
        Outcome::Failed => 'X',
    };
    sets.iter().map(letter).collect()
}

#[test]
fn outcomes_are_those_of_upstream() {
    let text = include_str!("../../../tests/golden/filter/cases.txt");
    let (mut sets, mut cases, mut wrong) = (Vec::new(), 0, Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (first, rest) = line.split_once('\t').unwrap_or((line, ""));
        if first == "set" {
            let pairs = rest.split('\t').filter_map(|pair| pair.split_once('='));
            sets.push(Properties(pairs.collect()));
            continue;
        }
        cases += 1;
        let found = outcomes(&unescaped(rest), &sets);
        if found != first {
            wrong.push(format!("{rest}\n  upstream {first}\n  here     {found}"));
        }
    }
    assert!(cases >= 10_000 && sets.len() > 20, "{cases} expressions, {} sets of properties", sets.len());
    assert!(
        wrong.is_empty(),
        "{} of {cases} expressions differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}
