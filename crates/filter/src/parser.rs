//! Tokens to a tree. Precedence, from weak to strong: `OR`; `AND`; `=`, `<>` and `IS`; the other
//! comparisons; `NOT` and signs, which so belong to the next operand only.

use crate::evaluate::Order;
use crate::lexer::{Keyword, Lexer, Token};
use crate::number::Number;
use crate::{Expression, MAX_DEPTH, MAX_LENGTH, MAX_NAMES, MAX_TERMS, SyntaxError};

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    /// The name at an index.
    Name(usize),
    Negative(Box<Node>),
    Not(Box<Node>),
    /// `AND`: at least two.
    All(Box<[Node]>),
    /// `OR`: at least two.
    Any(Box<[Node]>),
    IsNull(Box<Node>),
    Equal(Box<[Node; 2]>),
    Ordered(Order, Box<[Node; 2]>),
    /// Value, least and most; `true`: not between.
    Between(Box<[Node; 3]>, bool),
    /// The name at an index is one of the sorted texts; `true`: is none of them.
    In(usize, Box<[Box<str>]>, bool),
    /// `true`: has not.
    Has(Part, Box<Node>, Box<str>, bool),
}

/// Where a text has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Anywhere,
    Start,
    End,
}

impl Node {
    fn is_boolean(&self) -> bool {
        !matches!(self, Self::Number(_) | Self::Text(_) | Self::Name(_) | Self::Negative(_))
    }

    /// The texts of which the name at an index has one wherever this is true; `None`: it is not bound to any.
    pub fn texts_of(&self, name: usize) -> Option<Vec<&str>> {
        match self {
            Self::Equal(operands) => match &**operands {
                [Self::Name(at), Self::Text(text)] | [Self::Text(text), Self::Name(at)] if *at == name => {
                    Some(vec![text])
                }
                _ => None,
            },
            Self::In(at, texts, false) if *at == name => Some(texts.iter().map(|text| &**text).collect()),
            Self::All(operands) => operands.iter().filter_map(|operand| operand.texts_of(name)).min_by_key(Vec::len),
            Self::Any(operands) => {
                let texts: Option<Vec<_>> = operands.iter().map(|operand| operand.texts_of(name)).collect();
                Some(texts?.concat())
            }
            _ => None,
        }
    }
}

/// A node, how deep it is, and where it begins, in bytes.
struct Parsed {
    node: Node,
    depth: usize,
    at: usize,
}

type Result<T = Parsed> = std::result::Result<T, SyntaxError>;

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    at: usize,
    names: Vec<Box<str>>,
    terms: usize,
    nesting: usize,
}

pub(crate) fn compile(text: &str) -> Result<Expression> {
    if text.len() > MAX_LENGTH {
        let message = format!("the expression has {} bytes; {MAX_LENGTH} are allowed", text.len());
        return Err(SyntaxError { position: 1, message });
    }
    let mut lexer = Lexer::new(text);
    let (token, at) = lexer.next()?;
    let mut parser = Parser { lexer, token, at, names: Vec::new(), terms: 0, nesting: 0 };
    let whole = parser.disjunction()?;
    let root = parser.boolean(whole)?.node;
    let ignored_from = (parser.token != Token::End).then(|| parser.lexer.position(parser.at));
    Ok(Expression { root, names: parser.names.into(), terms: parser.terms, ignored_from })
}

impl<'t> Parser<'t> {
    fn disjunction(&mut self) -> Result {
        self.chain(Keyword::Or, Self::conjunction, Node::Any)
    }

    fn conjunction(&mut self) -> Result {
        self.chain(Keyword::And, Self::equality, Node::All)
    }

    /// Operands between which the same keyword stands.
    fn chain(&mut self, keyword: Keyword, operand: fn(&mut Self) -> Result, node: fn(Box<[Node]>) -> Node) -> Result {
        let first = operand(self)?;
        if self.token != Token::Keyword(keyword) {
            return Ok(first);
        }
        let (at, first) = (first.at, self.boolean(first)?);
        let (mut nodes, mut depth) = (vec![first.node], first.depth);
        while self.take_keyword(keyword)? {
            let next = operand(self)?;
            let next = self.boolean(next)?;
            depth = depth.max(next.depth);
            nodes.push(next.node);
            self.count_term()?;
        }
        self.made(node(nodes.into()), depth, at)
    }

    fn equality(&mut self) -> Result {
        let mut left = self.comparison()?;
        loop {
            let (at, depth) = (left.at, left.depth);
            left = if self.take_symbol("=")? {
                self.equal(left)?
            } else if self.take_symbol("<>")? {
                let equal = self.equal(left)?;
                self.made(Node::Not(equal.node.into()), equal.depth, at)?
            } else if self.take_keyword(Keyword::Is)? {
                let not = self.take_keyword(Keyword::Not)?;
                if !self.take_keyword(Keyword::Null)? {
                    return Err(self.expected(if not { "NULL" } else { "NULL or NOT NULL" }));
                }
                let is_null = Node::IsNull(left.node.into());
                self.made(if not { Node::Not(is_null.into()) } else { is_null }, depth, at)?
            } else {
                return Ok(left);
            };
        }
    }

    fn equal(&mut self, left: Parsed) -> Result {
        let right = self.comparison()?;
        for operand in [&left, &right] {
            if operand.node == Node::Null {
                return Err(self.lexer.error(operand.at, "NULL equals nothing; use IS NULL or IS NOT NULL"));
            }
        }
        if matches!((&left.node, &right.node), (Node::Bool(_), Node::Number(_) | Node::Text(_))) {
            return Err(self.lexer.error(right.at, "a boolean literal is compared with a number or string literal"));
        }
        let depth = left.depth.max(right.depth);
        self.made(Node::Equal(Box::new([left.node, right.node])), depth, left.at)
    }

    fn comparison(&mut self) -> Result {
        let mut left = self.unary()?;
        loop {
            let order = match self.token {
                Token::Symbol(">") => Some(Order::Greater),
                Token::Symbol(">=") => Some(Order::GreaterOrEqual),
                Token::Symbol("<") => Some(Order::Less),
                Token::Symbol("<=") => Some(Order::LessOrEqual),
                _ => None,
            };
            left = if let Some(order) = order {
                self.advance()?;
                let right = self.unary()?;
                let (left, right) = (self.ordered(left)?, self.ordered(right)?);
                let depth = left.depth.max(right.depth);
                self.made(Node::Ordered(order, Box::new([left.node, right.node])), depth, left.at)?
            } else {
                let not = self.take_keyword(Keyword::Not)?;
                let Token::Keyword(keyword) = self.token else {
                    return if not { Err(self.expected(AFTER_NOT)) } else { Ok(left) };
                };
                match keyword {
                    Keyword::Between => self.between(left, not)?,
                    Keyword::In => self.one_of(left, not)?,
                    Keyword::Contains => self.has(Part::Anywhere, left, not)?,
                    Keyword::StartsWith => self.has(Part::Start, left, not)?,
                    Keyword::EndsWith => self.has(Part::End, left, not)?,
                    _ if not => return Err(self.expected(AFTER_NOT)),
                    _ => return Ok(left),
                }
            };
        }
    }

    fn between(&mut self, value: Parsed, not: bool) -> Result {
        self.advance()?;
        let least = self.unary()?;
        if !self.take_keyword(Keyword::And)? {
            return Err(self.expected("AND and the upper bound of BETWEEN"));
        }
        let most = self.unary()?;
        let (value, least, most) = (self.ordered(value)?, self.ordered(least)?, self.ordered(most)?);
        if let (Node::Number(low), Node::Number(high), false) = (&least.node, &most.node, not)
            && low.order(*high).is_gt()
        {
            return Err(self.lexer.error(least.at, "the lower bound of BETWEEN is greater than its upper bound"));
        }
        let depth = value.depth.max(least.depth).max(most.depth);
        self.made(Node::Between(Box::new([value.node, least.node, most.node]), not), depth, value.at)
    }

    fn one_of(&mut self, value: Parsed, not: bool) -> Result {
        let Node::Name(name) = value.node else {
            return Err(self.lexer.error(value.at, "IN is asked of something that is no property"));
        };
        self.advance()?;
        if !self.take_symbol("(")? {
            return Err(self.expected("'('"));
        }
        let mut list = vec![self.text()?];
        while self.take_symbol(",")? {
            list.push(self.text()?);
        }
        self.close()?;
        list.sort_unstable();
        list.dedup();
        self.made(Node::In(name, list.into(), not), value.depth, value.at)
    }

    fn has(&mut self, part: Part, of: Parsed, not: bool) -> Result {
        self.advance()?;
        let sought = self.text()?;
        self.made(Node::Has(part, of.node.into(), sought, not), of.depth, of.at)
    }

    /// Signs and `NOT`, each for all that follows it here.
    fn unary(&mut self) -> Result {
        let at = self.at;
        if self.take_symbol("+")? {
            Ok(Parsed { at, ..self.nested(Self::unary)? })
        } else if self.take_symbol("-")? {
            let operand = self.nested(Self::unary)?;
            self.made(Node::Negative(operand.node.into()), operand.depth, at)
        } else if self.take_keyword(Keyword::Not)? {
            let operand = self.nested(Self::unary)?;
            let operand = self.boolean(operand)?;
            self.made(Node::Not(operand.node.into()), operand.depth, at)
        } else {
            self.primary()
        }
    }

    fn primary(&mut self) -> Result {
        let at = self.at;
        let node = match self.token {
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.nested(Self::disjunction)?;
                self.close()?;
                return Ok(Parsed { at, ..inner });
            }
            Token::Keyword(Keyword::True) => Node::Bool(true),
            Token::Keyword(Keyword::False) => Node::Bool(false),
            Token::Keyword(Keyword::Null) => Node::Null,
            Token::Text(text) => Node::Text(unquoted(text)),
            Token::Name(name) => self.name(name)?,
            Token::Whole(digits) => Node::Number(Number::from_digits(digits).ok_or_else(|| {
                self.lexer.error(at, format!("{digits} is greater than {}, the greatest whole number", i64::MAX))
            })?),
            Token::Fraction(text) => Node::Number(Number::Double(self.fraction(text)?)),
            Token::Keyword(_) | Token::Symbol(_) | Token::End => {
                return Err(self.expected("a name, a literal, '(', NOT or a sign"));
            }
        };
        self.advance()?;
        self.made(node, 0, at)
    }

    fn fraction(&self, text: &str) -> Result<f64> {
        let value: f64 = text.parse().map_err(|_| self.expected("a number"))?;
        let why = match value {
            f64::INFINITY => "greater than the greatest double",
            0.0 => "less than the least positive double; write 0",
            _ => return Ok(value),
        };
        Err(self.lexer.error(self.at, format!("{text} is {why}")))
    }

    fn name(&mut self, name: &str) -> Result<Node> {
        let known = self.names.iter().position(|known| **known == *name);
        Ok(Node::Name(match known {
            Some(at) => at,
            None if self.names.len() == MAX_NAMES => {
                let message = format!("the expression has more than {MAX_NAMES} different names");
                return Err(self.lexer.error(self.at, message));
            }
            None => {
                self.names.push(name.into());
                self.names.len() - 1
            }
        }))
    }

    fn text(&mut self) -> Result<Box<str>> {
        let Token::Text(text) = self.token else { return Err(self.expected("a string")) };
        self.advance()?;
        Ok(unquoted(text))
    }

    fn close(&mut self) -> Result<()> {
        if self.take_symbol(")")? { Ok(()) } else { Err(self.expected("')'")) }
    }

    /// What may stand where true or false is wanted: a name's value is looked at when it is known.
    fn boolean(&self, operand: Parsed) -> Result {
        if operand.node.is_boolean() || matches!(operand.node, Node::Name(_)) {
            return Ok(operand);
        }
        Err(self.lexer.error(operand.at, "this is neither true nor false"))
    }

    /// What may stand beside `>` and its like, and in `BETWEEN`.
    fn ordered(&self, operand: Parsed) -> Result {
        if matches!(operand.node, Node::Number(_) | Node::Name(_) | Node::Negative(_)) {
            return Ok(operand);
        }
        let message = "only numbers and properties can be compared by >, >=, <, <= and BETWEEN";
        Err(self.lexer.error(operand.at, message))
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result) -> Result {
        self.nesting += 1;
        if self.nesting > MAX_DEPTH {
            return Err(self.too_deep(self.at));
        }
        let parsed = inner(self);
        self.nesting -= 1;
        parsed
    }

    /// A node above others of a depth.
    fn made(&mut self, node: Node, below: usize, at: usize) -> Result {
        self.count_term()?;
        if below == MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        Ok(Parsed { node, depth: below + 1, at })
    }

    fn count_term(&mut self) -> Result<()> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            let message = format!("the expression has more than {MAX_TERMS} operators, literals and names");
            return Err(self.lexer.error(self.at, message));
        }
        Ok(())
    }

    fn too_deep(&self, at: usize) -> SyntaxError {
        self.lexer.error(at, format!("the expression is nested deeper than {MAX_DEPTH} levels"))
    }

    fn take_symbol(&mut self, symbol: &'static str) -> Result<bool> {
        self.take(Token::Symbol(symbol))
    }

    fn take_keyword(&mut self, keyword: Keyword) -> Result<bool> {
        self.take(Token::Keyword(keyword))
    }

    fn take(&mut self, token: Token<'static>) -> Result<bool> {
        let is_here = self.token == token;
        if is_here {
            self.advance()?;
        }
        Ok(is_here)
    }

    fn advance(&mut self) -> Result<()> {
        (self.token, self.at) = self.lexer.next()?;
        Ok(())
    }

    fn expected(&self, what: &str) -> SyntaxError {
        let found = match self.token {
            Token::End => "the end".to_owned(),
            Token::Keyword(keyword) => format!("{keyword:?}").to_uppercase(),
            Token::Text(text) => format!("the string '{}'", shortened(text)),
            Token::Name(text) | Token::Whole(text) | Token::Fraction(text) => format!("'{}'", shortened(text)),
            Token::Symbol(symbol) => format!("'{symbol}'"),
        };
        self.lexer.error(self.at, format!("expected {what}, found {found}"))
    }
}

const AFTER_NOT: &str = "BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH";

fn unquoted(text: &str) -> Box<str> {
    text.replace("''", "'").into()
}

fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
