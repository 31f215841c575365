//! Makes a syntax tree of the tokens, with Go's errors.

use std::sync::Arc;

use super::{
    lexer::{self, Kind, Token},
    node::{Branch, Command, Node, Operand, Pipeline, Source, Template, Word},
    number::number,
    unquote::unquote,
};
use crate::helm::{functions, quote::quoted, value::Text};

/// A template that is not valid.
#[derive(Clone, Debug)]
pub(crate) struct ParseError {
    /// From 1.
    pub(crate) line: usize,
    /// As Go words it.
    pub(crate) message: String,
}

/// Deeper nesting of actions and parentheses is refused.
const MAX_NESTING: usize = 500;

/// Why a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    End,
    Else,
}

struct Parser {
    source: Arc<Source>,
    tokens: Vec<Token>,
    lexical: Option<ParseError>,
    position: usize,
    variables: Vec<Text>,
    ranges: usize,
    nesting: usize,
    templates: Vec<Template>,
}

/// The templates that a text defines; the text itself comes last, under `name`.
pub(crate) fn parse(name: &[u8], input: &[u8]) -> Result<Vec<Template>, ParseError> {
    let (tokens, lexical) = lexer::tokens(input);
    let source = Arc::new(Source { name: name.into(), text: input.into(), tokens: tokens.len() });
    let variables = vec![Text::from(b"$".as_slice())];
    let mut parser =
        Parser { source, tokens, lexical, position: 0, variables, ranges: 0, nesting: 0, templates: Vec::new() };
    let mut body = Vec::new();
    while parser.peek()?.kind != Kind::Eof {
        if parser.peek()?.kind == Kind::LeftDelimiter {
            let mark = parser.position;
            parser.position += 1;
            if parser.next_word()?.kind == Kind::Define {
                parser.definition()?;
                continue;
            }
            parser.position = mark;
        }
        match parser.text_or_action()? {
            Ok(node) => body.push(node),
            Err(Stop::End) => return parser.error("unexpected {{end}}"),
            Err(Stop::Else) => return parser.error("unexpected {{else}}"),
        }
    }
    let template = Template { name: name.into(), source: Arc::clone(&parser.source), body };
    parser.add(template)?;
    Ok(parser.templates)
}

// === impl Parser ===

impl Parser {
    fn slice(&self, token: Token) -> Text {
        self.source.text.get(token.start..token.end).unwrap_or_default().into()
    }

    fn line(&self) -> usize {
        let last = self.position.saturating_sub(1).min(self.tokens.len().saturating_sub(1));
        self.tokens.get(last).map_or(1, |token| token.line)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError { line: self.line(), message: message.into() })
    }

    fn peek(&self) -> Result<Token, ParseError> {
        match (self.tokens.get(self.position), &self.lexical) {
            (Some(token), _) => Ok(*token),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Ok(Token {
                kind: Kind::Eof,
                start: self.source.text.len(),
                end: self.source.text.len(),
                line: self.line(),
            }),
        }
    }

    fn next(&mut self) -> Result<Token, ParseError> {
        let token = self.peek()?;
        self.position += 1;
        Ok(token)
    }

    fn skip_spaces(&mut self) {
        while self.tokens.get(self.position).is_some_and(|token| token.kind == Kind::Space) {
            self.position += 1;
        }
    }

    fn next_word(&mut self) -> Result<Token, ParseError> {
        self.skip_spaces();
        self.next()
    }

    fn peek_word(&mut self) -> Result<Token, ParseError> {
        self.skip_spaces();
        self.peek()
    }

    fn unexpected<T>(&self, token: Token, context: &str) -> Result<T, ParseError> {
        let shown = match token.kind {
            Kind::Eof => "EOF".to_owned(),
            kind if kind as u8 > Kind::Nil as u8 => format!("<{}>", String::from_utf8_lossy(&self.slice(token))),
            _ => quoted(&self.slice(token)),
        };
        Err(ParseError { line: token.line, message: format!("unexpected {shown} in {context}") })
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token, ParseError> {
        let token = self.next_word()?;
        if token.kind == kind { Ok(token) } else { self.unexpected(token, context) }
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING { self.error(format!("nested deeper than {MAX_NESTING} levels")) } else { Ok(()) }
    }

    /// An empty definition never replaces, two others with one name are an error.
    fn add(&mut self, template: Template) -> Result<(), ParseError> {
        if let Some(index) = self.templates.iter().position(|known| known.name == template.name) {
            if self.templates.get(index).is_some_and(Template::is_empty) {
                self.templates.remove(index);
            } else if template.is_empty() {
                return Ok(());
            } else {
                return self.error(format!("template: multiple definition of template {}", quoted(&template.name)));
            }
        }
        self.templates.push(template);
        Ok(())
    }

    fn template_name(&mut self, context: &str) -> Result<Text, ParseError> {
        let token = self.next_word()?;
        if !matches!(token.kind, Kind::String | Kind::RawString) {
            return self.unexpected(token, context);
        }
        match unquote(&self.slice(token)) {
            Some(name) => Ok(name.into()),
            None => self.error("invalid syntax"),
        }
    }

    fn definition(&mut self) -> Result<(), ParseError> {
        let name = self.template_name("define clause")?;
        self.expect(Kind::RightDelimiter, "define clause")?;
        self.named_body(name, "define clause")
    }

    /// The body of a `define` or `block`: its own variables, up to its `end`.
    fn named_body(&mut self, name: Text, context: &str) -> Result<(), ParseError> {
        self.enter()?;
        let variables = std::mem::replace(&mut self.variables, vec![Text::from(b"$".as_slice())]);
        let ranges = std::mem::take(&mut self.ranges);
        let (body, stop) = self.list()?;
        if stop != Stop::End {
            return self.error(format!("unexpected {{{{else}}}} in {context}"));
        }
        self.variables = variables;
        self.ranges = ranges;
        self.nesting -= 1;
        let source = Arc::clone(&self.source);
        self.add(Template { name, source, body })
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), ParseError> {
        let mut body = Vec::new();
        while self.peek_word()?.kind != Kind::Eof {
            match self.text_or_action()? {
                Ok(node) => body.push(node),
                Err(stop) => {
                    body.shrink_to_fit();
                    return Ok((body, stop));
                }
            }
        }
        self.position += 1;
        let line = self.tokens.last().map_or(1, |token| token.line);
        Err(ParseError { line, message: "unexpected EOF".to_owned() })
    }

    fn text_or_action(&mut self) -> Result<Result<Node, Stop>, ParseError> {
        let token = self.next_word()?;
        match token.kind {
            Kind::Text => Ok(Ok(Node::Text(self.slice(token)))),
            Kind::LeftDelimiter => self.action(),
            _ => self.unexpected(token, "input"),
        }
    }

    fn action(&mut self) -> Result<Result<Node, Stop>, ParseError> {
        let token = self.next_word()?;
        Ok(Ok(match token.kind {
            Kind::Block => self.block(token)?,
            Kind::Break | Kind::Continue => {
                let (word, node) = if token.kind == Kind::Break {
                    ("{{break}}", Node::Break)
                } else {
                    ("{{continue}}", Node::Continue)
                };
                self.expect(Kind::RightDelimiter, word)?;
                if self.ranges == 0 {
                    return self.error(format!("{word} outside {{{{range}}}}"));
                }
                node
            }
            Kind::Else => {
                let next = self.peek_word()?;
                if !matches!(next.kind, Kind::If | Kind::With) {
                    self.expect(Kind::RightDelimiter, "else")?;
                }
                return Ok(Err(Stop::Else));
            }
            Kind::End => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Err(Stop::End));
            }
            Kind::If => Node::If(self.control("if", token)?),
            Kind::With => Node::With(self.control("with", token)?),
            Kind::Range => Node::Range(self.control("range", token)?),
            Kind::Template => {
                let name = self.template_name("template clause")?;
                let pipeline = if self.peek_word()?.kind == Kind::RightDelimiter {
                    self.position += 1;
                    None
                } else {
                    Some(self.pipeline("template clause", Kind::RightDelimiter)?)
                };
                Node::Template { position: token.start, name, pipeline }
            }
            _ => {
                self.position -= 1;
                Node::Action(self.pipeline("command", Kind::RightDelimiter)?)
            }
        }))
    }

    fn block(&mut self, token: Token) -> Result<Node, ParseError> {
        let name = self.template_name("block clause")?;
        let pipeline = self.pipeline("block clause", Kind::RightDelimiter)?;
        self.named_body(Text::clone(&name), "block clause")?;
        Ok(Node::Template { position: token.start, name, pipeline: Some(pipeline) })
    }

    fn control(&mut self, keyword: &'static str, token: Token) -> Result<Branch, ParseError> {
        self.enter()?;
        let variables = self.variables.len();
        let pipeline = self.pipeline(keyword, Kind::RightDelimiter)?;
        let is_range = usize::from(keyword == "range");
        self.ranges += is_range;
        let (body, stop) = self.list()?;
        self.ranges -= is_range;
        let mut otherwise = None;
        if stop == Stop::Else {
            let next = self.peek()?;
            if (keyword == "if" && next.kind == Kind::If) || (keyword == "with" && next.kind == Kind::With) {
                self.position += 1;
                let nested = self.control(keyword, next)?;
                otherwise = Some(vec![if keyword == "if" { Node::If(nested) } else { Node::With(nested) }]);
            } else {
                let (nodes, stop) = self.list()?;
                if stop != Stop::End {
                    return self.error("expected end; found {{else}}");
                }
                otherwise = Some(nodes);
            }
        }
        self.variables.truncate(variables);
        self.nesting -= 1;
        Ok(Branch { position: token.start, pipeline, body, otherwise })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipeline, ParseError> {
        self.enter()?;
        let position = self.peek_word()?.start;
        let mut pipeline = Pipeline { position, declarations: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipeline, context)?;
        loop {
            let token = self.next_word()?;
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharacterConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParenthesis => {
                    self.position -= 1;
                    let command = self.command()?;
                    pipeline.commands.push(command);
                }
                _ => return self.unexpected(token, context),
            }
        }
        pipeline.commands.shrink_to_fit();
        if pipeline.commands.is_empty() {
            return self.error(format!("missing value for {context}"));
        }
        for (index, command) in pipeline.commands.iter().enumerate().skip(1) {
            let first = command.words.first().map(|word| &word.operand);
            if matches!(
                first,
                Some(Operand::Bool(_) | Operand::Dot | Operand::Nil | Operand::Number(_) | Operand::String(..))
            ) {
                return self.error(format!("non executable command in pipeline stage {}", index + 1));
            }
        }
        self.nesting -= 1;
        Ok(pipeline)
    }

    fn declarations(&mut self, pipeline: &mut Pipeline, context: &str) -> Result<(), ParseError> {
        loop {
            let variable = self.peek_word()?;
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            let mark = self.position;
            self.position += 1;
            let next = self.peek_word()?;
            let name = self.slice(variable);
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.position += 1;
                    pipeline.assigns = next.kind == Kind::Assign;
                    pipeline.declarations.push(Text::clone(&name));
                    self.variables.push(name);
                    return Ok(());
                }
                Kind::Character if self.slice(next).as_ref() == b"," => {
                    self.position += 1;
                    pipeline.declarations.push(Text::clone(&name));
                    self.variables.push(name);
                    if context != "range" || pipeline.declarations.len() >= 2 {
                        return self.error(format!("too many declarations in {context}"));
                    }
                    if !matches!(self.peek_word()?.kind, Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis)
                    {
                        return self.error("range can only initialize variables");
                    }
                }
                _ => {
                    self.position = mark;
                    return Ok(());
                }
            }
        }
    }

    fn command(&mut self) -> Result<Command, ParseError> {
        let position = self.peek_word()?.start;
        let mut words = Vec::new();
        loop {
            self.peek_word()?;
            if let Some(word) = self.operand()? {
                words.push(word);
            }
            let token = self.next()?;
            match token.kind {
                Kind::Space => {}
                Kind::RightDelimiter | Kind::RightParenthesis => {
                    self.position -= 1;
                    break;
                }
                // As in Go, nothing need follow it.
                Kind::Pipe => break,
                _ => return self.unexpected(token, "operand"),
            }
        }
        words.shrink_to_fit();
        if words.is_empty() { self.error("empty command") } else { Ok(Command { position, words }) }
    }

    fn operand(&mut self) -> Result<Option<Word>, ParseError> {
        let Some(word) = self.term()? else { return Ok(None) };
        let first = self.peek()?;
        if first.kind != Kind::Field {
            return Ok(Some(word));
        }
        let mut names = Vec::new();
        while self.peek()?.kind == Kind::Field {
            let token = self.next()?;
            names.push(self.field_name(token));
        }
        let operand = match word.operand {
            Operand::Field(mut start) => {
                start.append(&mut names);
                Operand::Field(start)
            }
            Operand::Variable(name, mut start) => {
                start.append(&mut names);
                Operand::Variable(name, start)
            }
            Operand::Bool(_) | Operand::String(..) | Operand::Number(_) | Operand::Nil | Operand::Dot => {
                return self.error("unexpected . after term");
            }
            operand => Operand::Chain(Box::new(Word { position: word.position, operand }), names),
        };
        Ok(Some(Word { position: first.start, operand }))
    }

    fn field_name(&self, token: Token) -> Text {
        self.source.text.get(token.start + 1..token.end).unwrap_or_default().into()
    }

    fn term(&mut self) -> Result<Option<Word>, ParseError> {
        let token = self.next_word()?;
        let operand = match token.kind {
            Kind::Identifier => {
                let name = self.slice(token);
                match functions::find(&name) {
                    Some(function) => Operand::Function(function),
                    None => return self.error(format!("function {} not defined", quoted(&name))),
                }
            }
            Kind::Dot => Operand::Dot,
            Kind::Nil => Operand::Nil,
            Kind::Variable => {
                let name = self.slice(token);
                if !self.variables.contains(&name) {
                    return self.error(format!("undefined variable {}", quoted(&name)));
                }
                Operand::Variable(name, Vec::new())
            }
            Kind::Field => Operand::Field(vec![self.field_name(token)]),
            Kind::Bool => Operand::Bool(self.slice(token).as_ref() == b"true"),
            Kind::CharacterConstant | Kind::Complex | Kind::Number => {
                match number(&self.slice(token), token.kind == Kind::Complex) {
                    Ok(number) => Operand::Number(number),
                    Err(message) => return self.error(message),
                }
            }
            Kind::LeftParenthesis => {
                let pipeline = self.pipeline("parenthesized pipeline", Kind::RightParenthesis)?;
                return Ok(Some(Word { position: pipeline.position, operand: Operand::Pipeline(Box::new(pipeline)) }));
            }
            Kind::String | Kind::RawString => match unquote(&self.slice(token)) {
                Some(content) => Operand::String(content.into(), self.slice(token)),
                None => return self.error("invalid syntax"),
            },
            _ => {
                self.position -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Word { position: token.start, operand }))
    }
}
