//! Where answers come from while a run lives: flags, the person at the terminal, and `firedrill approve`.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::BoxFuture;

use super::terminal;
use crate::{
    engine::Answers,
    event::{Answer, How, Question},
    runs::Place,
};

pub(super) struct Given {
    /// Bare `--yes`.
    pub all: bool,
    /// `--yes=STEP`.
    pub steps: BTreeSet<String>,
    pub user: String,
    pub person: bool,
    /// The run, to which `approve` leaves answers.
    pub run: Option<(Place, String)>,
}

impl Answers for Given {
    fn answer<'a>(&'a self, step: &'a str, question: &'a Question) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async move {
            let may = question.who.is_empty() || question.who.contains(&self.user);
            if may && (self.all || self.steps.contains(step)) {
                return Some(Answer { yes: true, by: self.user.clone(), how: How::Flag, comment: None });
            }
            if let Some(answer) = self.left(step, question) {
                return Some(answer);
            }
            if !(self.person && may) {
                return None;
            }
            tokio::select! {
                answer = self.at_the_terminal(question) => answer,
                answer = self.left_by_approve(step, question) => Some(answer),
            }
        })
    }
}

impl Given {
    fn left(&self, step: &str, question: &Question) -> Option<Answer> {
        let (place, run) = self.run.as_ref()?;
        place.take_answer(run, step, question)
    }

    async fn at_the_terminal(&self, question: &Question) -> Option<Answer> {
        let answer = |yes| Answer { yes, by: self.user.clone(), how: How::Terminal, comment: None };
        loop {
            let hint = match &question.typed {
                Some(word) => format!("  type `{word}`, or `no`: "),
                None => "  yes or no: ".to_owned(),
            };
            let said = terminal::ask(&hint).await?;
            match (&question.typed, said.as_str()) {
                (_, "no" | "n") => return Some(answer(false)),
                (Some(word), said) if said == word => return Some(answer(true)),
                (None, "yes" | "y") => return Some(answer(true)),
                (_, _) => {}
            }
        }
    }

    async fn left_by_approve(&self, step: &str, question: &Question) -> Answer {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Some(answer) = self.left(step, question) {
                return answer;
            }
        }
    }
}
