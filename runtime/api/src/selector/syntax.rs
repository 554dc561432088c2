//! The query syntax of label selectors: tokens and a parser of one look-ahead.

use std::fmt;

use super::SelectorError;
use super::label::{Operator, Requirement};

/// All requirements of a selector, in the order written.
pub(super) fn parse_requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser::new(text);
    let mut requirements = Vec::new();
    if parser.peek() == &Token::End {
        return Ok(requirements);
    }
    loop {
        requirements.push(parser.requirement()?);
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Comma if parser.starts_requirement() => {}
            Token::Comma => return Err(parser.unexpected("identifier after ','")),
            other => {
                return Err(SelectorError::Syntax(format!(
                    "found '{other}', expected: ',' or 'end of string'"
                )));
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    End,
    Comma,
    Open,
    Close,
    Not,
    Operator(Operator),
    Word(String),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Token::End => "",
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::Not => "!",
            Token::Operator(Operator::NotEquals) => "!=",
            Token::Operator(Operator::GreaterThan) => ">",
            Token::Operator(Operator::LessThan) => "<",
            Token::Operator(_) => "=",
            Token::Word(word) => word,
        })
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn new(text: &str) -> Self {
        Self { tokens: tokens(text), at: 0 }
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn starts_requirement(&self) -> bool {
        matches!(self.peek(), Token::Word(_) | Token::Not)
    }

    fn unexpected(&self, expected: &str) -> SelectorError {
        SelectorError::Syntax(format!("found '{}', expected: {expected}", self.peek()))
    }

    fn word(&mut self, expected: &str) -> Result<String, SelectorError> {
        match self.peek() {
            Token::Word(word) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.peek() == &Token::Not {
            self.at += 1;
            let key = self.word("identifier")?;
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        let key = self.word("!, identifier, or 'end of string'")?;
        match self.peek().clone() {
            Token::End | Token::Comma => Requirement::new(&key, Operator::Exists, Vec::new()),
            Token::Operator(operator) => {
                self.at += 1;
                // `a=` and `a=,b` compare with the empty string.
                let value = match self.peek() {
                    Token::End | Token::Comma => String::new(),
                    _ => self.word("identifier")?,
                };
                Requirement::new(&key, operator, vec![value])
            }
            Token::Word(word) if word == "in" || word == "notin" => {
                self.at += 1;
                let operator = if word == "in" { Operator::In } else { Operator::NotIn };
                let values = self.set()?;
                Requirement::new(&key, operator, values)
            }
            _ => Err(self.unexpected("in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, SelectorError> {
        if self.next() != Token::Open {
            self.at -= 1;
            return Err(self.unexpected("'('"));
        }
        let mut values = Vec::new();
        loop {
            // An empty place between commas is the empty string.
            let value = match self.peek() {
                Token::Comma | Token::Close => String::new(),
                _ => self.word("',', ')' or identifier")?,
            };
            values.push(value);
            match self.next() {
                Token::Comma => {}
                Token::Close => break,
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected("',' or ')'"));
                }
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            chars.next();
            continue;
        }
        let single = match c {
            ',' => Some(Token::Comma),
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '>' => Some(Token::Operator(Operator::GreaterThan)),
            '<' => Some(Token::Operator(Operator::LessThan)),
            _ => None,
        };
        if let Some(token) = single {
            chars.next();
            tokens.push(token);
        } else if c == '=' {
            chars.next();
            chars.next_if_eq(&'=');
            tokens.push(Token::Operator(Operator::Equals));
        } else if c == '!' {
            chars.next();
            let token = if chars.next_if_eq(&'=').is_some() {
                Token::Operator(Operator::NotEquals)
            } else {
                Token::Not
            };
            tokens.push(token);
        } else {
            let mut word = String::new();
            while let Some(c) = chars.next_if(|c| !" \t\n\r,()><=!".contains(*c)) {
                word.push(c);
            }
            tokens.push(Token::Word(word));
        }
    }
    tokens
}
