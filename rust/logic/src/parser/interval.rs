//! Intervals: two durations in brackets.

use super::{Parser, fault};
use crate::duration::{self, DurationFault, Unit};
use crate::formula::Interval;
use crate::lexer::{Fault, Kind, Token};

impl Parser<'_> {
    /// `[a, b]` after a temporal operator, or nothing.
    pub(super) fn interval(&mut self) -> Result<Option<Interval>, Fault> {
        if self.peek().kind != Kind::LeftBracket {
            return Ok(None);
        }
        let open = self.advance();
        let (start_ns, first) = self.bound()?;
        let comma = self.advance();
        if comma.kind != Kind::Comma {
            let advice = match comma.kind {
                Kind::RightBracket => self.one_line(first.start, first.end).map(|end| format!("write '[0, {end}]'")),
                _ => None,
            };
            return Err(fault(comma, "an interval has two bounds with a comma between them")
                .advise(advice.unwrap_or_else(|| "write '[0, 2 s]'".to_owned())));
        }
        let (end_ns, _) = self.bound()?;
        let close = self.advance();
        if close.kind != Kind::RightBracket {
            return Err(
                fault(close, "the interval is not closed").advise("write ']' after its second bound".to_owned())
            );
        }
        if start_ns > end_ns {
            let place = Token { start: open.start, end: close.end, ..open };
            return Err(fault(place, "the interval ends before it starts").advise("swap its bounds".to_owned()));
        }
        Ok(Some(Interval { start_ns, end_ns }))
    }

    /// A duration with its place; a bare number is seconds.
    fn bound(&mut self) -> Result<(i64, Token), Fault> {
        let number = self.advance();
        match number.kind {
            Kind::Number(_) => {}
            Kind::Minus => {
                return Err(fault(number, "an interval bound is never negative")
                    .advise("bounds are ages: '[0, 2 s]' is the last two seconds".to_owned()));
            }
            Kind::Word if matches!(self.slice(number), "inf" | "infinity") => {
                return Err(fault(number, "an interval is bounded in this version")
                    .advise("leave the interval out to look back over the whole trace".to_owned()));
            }
            _ => {
                return Err(fault(number, "an interval bound is a duration").advise("write '[0, 2 s]'".to_owned()));
            }
        }
        let mut place = number;
        let mut unit = duration::SECOND;
        if self.peek().kind == Kind::Word {
            let word = self.advance();
            let name = self.slice(word);
            unit = Unit::named(name).ok_or_else(|| {
                fault(word, format!("unknown unit '{name}'")).advise(match Unit::misspelled(name) {
                    Some(meant) => format!("did you mean '{meant}'?"),
                    None => "the units are ns, us, ms, s, min and h".to_owned(),
                })
            })?;
            place.end = word.end;
        }
        let nanoseconds = duration::nanoseconds(self.slice(number), unit).map_err(|reason| match reason {
            DurationFault::NotWhole => fault(place, "an interval bound is a whole number of nanoseconds"),
            DurationFault::TooLong => fault(place, "an interval reaches back 292 years at most"),
        })?;
        Ok((nanoseconds, place))
    }
}
