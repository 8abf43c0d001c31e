//! A tree and a message's values to an outcome, in three-valued logic.

use crate::MAX_NAMES;
use crate::number::{Number, order_doubles, read_double};
use crate::parser::{Node, Part};
use crate::variables::{Variable, Variables};

/// What an expression is of a message. Only with `True` is the message wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The message is wanted.
    True,
    /// It is not.
    False,
    /// Names without a value decide.
    Unknown,
    /// A value cannot be compared as the expression says: a text that is no number with a number, or
    /// a whole number that is too great for the literal's type.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'v> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'v str),
}

/// See [`Outcome::Failed`].
struct Failed;

type Result<T> = std::result::Result<T, Failed>;

pub(crate) fn outcome(root: &Node, names: &[Box<str>], variables: &impl Variables) -> Outcome {
    /// Most expressions have no more names than this.
    const FEW: usize = 8;
    let (mut few, mut many);
    let known: &mut [Option<Value<'_>>] = if names.len() <= FEW {
        few = [None; FEW];
        &mut few
    } else {
        many = [None; MAX_NAMES];
        &mut many
    };
    match (Evaluation { names, variables, known }).truth(root) {
        Ok(Some(true)) => Outcome::True,
        Ok(Some(false)) => Outcome::False,
        Ok(None) => Outcome::Unknown,
        Err(Failed) => Outcome::Failed,
    }
}

struct Evaluation<'v, V> {
    names: &'v [Box<str>],
    variables: &'v V,
    /// Values looked up before, by the index of the name: each is looked for once.
    known: &'v mut [Option<Value<'v>>],
}

impl<'v, V: Variables> Evaluation<'v, V> {
    /// What a value means where true or false is wanted. A property is neither: it counts as false
    /// when it has a value.
    fn truth(&mut self, node: &'v Node) -> Result<Option<bool>> {
        Ok(match self.value(node)? {
            Value::Null => None,
            Value::Bool(value) => Some(value),
            Value::Number(_) | Value::Text(_) => Some(false),
        })
    }

    fn value(&mut self, node: &'v Node) -> Result<Value<'v>> {
        let truth = match node {
            Node::Null => return Ok(Value::Null),
            Node::Bool(value) => Some(*value),
            Node::Number(number) => return Ok(Value::Number(*number)),
            Node::Text(text) => return Ok(Value::Text(text)),
            Node::Name(at) => return Ok(self.variable(*at)),
            Node::Negative(operand) => {
                return Ok(match self.value(operand)? {
                    Value::Number(number) => Value::Number(number.negative()),
                    _ => Value::Null,
                });
            }
            Node::Not(operand) => self.truth(operand)?.map(|value| !value),
            Node::All(operands) => self.unless(false, operands)?,
            Node::Any(operands) => self.unless(true, operands)?,
            Node::IsNull(operand) => Some(self.value(operand)? == Value::Null),
            Node::Equal(operands) => {
                let [left, right] = &**operands;
                equal(self.value(left)?, self.value(right)?)?
            }
            Node::Ordered(order, operands) => {
                let [left, right] = &**operands;
                let left = self.value(left)?;
                self.ordered(left, *order, right)?
            }
            Node::Between(operands, not) => {
                let [value, least, most] = &**operands;
                let value = self.value(value)?;
                let [below, above] = match not {
                    false => [Order::GreaterOrEqual, Order::LessOrEqual],
                    true => [Order::Less, Order::Greater],
                };
                match self.ordered(value, below, least)? {
                    decided if decided == Some(*not) => decided,
                    undecided => match self.ordered(value, above, most)? {
                        decided if decided == Some(*not) => decided,
                        other => undecided.and(other),
                    },
                }
            }
            Node::In(at, list, not) => match self.variable(*at) {
                Value::Text(text) => Some(list.binary_search_by(|one| (**one).cmp(text)).is_ok() != *not),
                _ => None,
            },
            // Nothing has an empty text, and nothing has not; what is asked is not looked at.
            Node::Has(_, _, sought, _) if sought.is_empty() => Some(false),
            Node::Has(part, of, sought, not) => match self.value(of)? {
                Value::Text(text) => Some(part.is_in(text, sought) != *not),
                _ => Some(false),
            },
        };
        Ok(truth.map_or(Value::Null, Value::Bool))
    }

    /// Chains of `AND` and `OR`: the first operand with the deciding value ends them.
    fn unless(&mut self, deciding: bool, operands: &'v [Node]) -> Result<Option<bool>> {
        let mut result = Some(!deciding);
        for operand in operands {
            match self.truth(operand)? {
                None => result = None,
                Some(value) if value == deciding => return Ok(Some(deciding)),
                Some(_) => {}
            }
        }
        Ok(result)
    }

    fn ordered(&mut self, left: Value<'v>, order: Order, right: &'v Node) -> Result<Option<bool>> {
        if left == Value::Null {
            return Ok(None);
        }
        let ordering = match (left, self.value(right)?) {
            (_, Value::Null) => return Ok(None),
            (Value::Number(left), Value::Number(right)) => left.order(right),
            (Value::Text(left), Value::Number(right)) => right.read_alike(left).ok_or(Failed)?.order(right),
            (Value::Number(left), Value::Text(right)) => left.order(left.read_alike(right).ok_or(Failed)?),
            (Value::Text(left), Value::Text(right)) => {
                order_doubles(read_double(left).ok_or(Failed)?, read_double(right).ok_or(Failed)?)
            }
            // The parser lets no boolean stand here.
            (Value::Null | Value::Bool(_), _) | (_, Value::Bool(_)) => return Err(Failed),
        };
        Ok(Some(match order {
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
        }))
    }

    fn variable(&mut self, at: usize) -> Value<'v> {
        let variables = self.variables;
        *self.known[at].get_or_insert_with(|| match variables.get(&self.names[at]) {
            None => Value::Null,
            Some(Variable::Text(text)) => Value::Text(text),
            Some(Variable::Number(number)) => Value::Number(Number::Long(number)),
        })
    }
}

/// Unknown where only the left one is null: so it is upstream.
fn equal(left: Value<'_>, right: Value<'_>) -> Result<Option<bool>> {
    Ok(Some(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) => return Ok(None),
        (_, Value::Null) => false,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::Text(left), Value::Bool(right)) => left.eq_ignore_ascii_case("true") == right,
        (Value::Bool(_), Value::Text(_)) => return Err(Failed),
        (Value::Bool(_), Value::Number(_)) | (Value::Number(_), Value::Bool(_)) => false,
        (Value::Number(left), Value::Number(right)) => left.order(right).is_eq(),
        (Value::Text(text), Value::Number(number)) | (Value::Number(number), Value::Text(text)) => {
            number.read_alike(text).ok_or(Failed)?.order(number).is_eq()
        }
    }))
}

impl Part {
    fn is_in(self, text: &str, sought: &str) -> bool {
        match self {
            Self::Anywhere => text.contains(sought),
            Self::Start => text.starts_with(sought),
            Self::End => text.ends_with(sought),
        }
    }
}
