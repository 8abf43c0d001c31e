//! SQL92 filter expressions: which messages a subscription wants, by their properties.
//!
//! Grammar and meaning are those of upstream's `rocketmq-filter` 5.5.0, down to its peculiarities,
//! which `docs/filters.md` lists; the golden cases in `tests/golden/filter` are its verdicts.
//!
//! - [`Expression`] is a text compiled once, asked for each message;
//! - [`Variables`] is what it asks for the values of names; [`MessageVariables`] are those of a record.

mod evaluate;
mod lexer;
mod number;
mod parser;
mod variables;

pub use evaluate::Outcome;
pub use variables::{MessageVariables, Variable, Variables};

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 32 * 1024;
/// Most operators, literals and names; the elements of a list after `IN` are not counted.
pub const MAX_TERMS: usize = 2048;
/// Deepest nesting, of parentheses and signs as of operators.
pub const MAX_DEPTH: usize = 128;
/// Most different names.
pub const MAX_NAMES: usize = 64;

/// A compiled expression. Asking it about a message allocates nothing, fails never, and takes time
/// in proportion to the expression and the values that it looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: parser::Node,
    /// The names in it, each once; nodes refer to them by index.
    names: Box<[Box<str>]>,
    terms: usize,
    ignored_from: Option<usize>,
}

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("position {position}: {message}")]
pub struct SyntaxError {
    /// The character where it was noticed, counted from 1; one past the end where more was expected.
    pub position: usize,
    /// What is wrong, in words.
    pub message: String,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// The first syntax error, a comparison that can never be made, such as `a > 'x'`, or what is
    /// over one of the limits of this crate.
    pub fn compile(text: &str) -> Result<Self, SyntaxError> {
        parser::compile(text)
    }

    /// Whether the expression is true of a message.
    pub fn matches(&self, variables: &impl Variables) -> bool {
        self.outcome(variables) == Outcome::True
    }

    /// What the expression is of a message.
    pub fn outcome(&self, variables: &impl Variables) -> Outcome {
        evaluate::outcome(&self.root, &self.names, variables)
    }

    /// The texts of which a name has one wherever the expression is true; `None` where it may have others, or
    /// none. Who knows something of that name's value beforehand can so rule messages out.
    pub fn texts_of(&self, name: &str) -> Option<Vec<&str>> {
        let at = self.names.iter().position(|known| **known == *name)?;
        self.root.texts_of(at)
    }

    /// How many operators, literals and names it has: what one message can cost.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// The character, counted from 1, from which on the text was ignored: as upstream's, the parser
    /// stops after the first complete expression, so in `a = 1 b = 2` after `1`.
    pub fn ignored_from(&self) -> Option<usize> {
        self.ignored_from
    }
}
