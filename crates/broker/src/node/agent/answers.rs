//! What an agent makes of an answer, or of a refusal.

use super::{Act, Agent, Answer, Failure, Identity, LOOK_AGAIN_MS, Question, refusal};

impl Agent {
    pub(super) fn named(&mut self, now: i64, outcome: Result<Answer, Failure>) {
        self.looking = self.looking.saturating_sub(1);
        if self.leader.is_some() {
            return;
        }
        if let Ok(Answer::Leader { address: Some(address), is_itself }) = outcome {
            if is_itself {
                self.leader = Some(address);
                self.looking = 0;
                self.next_question = now;
                return;
            }
            self.named = Some(address);
        }
        if self.looking == 0 {
            // Nobody says so of itself: it may be one that is not in the list.
            self.leader = self.named.take();
            self.next_question = now + LOOK_AGAIN_MS;
            if self.leader.is_none() {
                let controllers = self.rules.controllers.join(";");
                let text = format!(
                    "none of the controllers {controllers} says who of them leads: see whether most of them are up and reach each other"
                );
                self.complain(now, text);
            }
        }
    }

    pub(super) fn take_answer(&mut self, now: i64, question: &Question, answer: Answer) {
        match (question, answer) {
            (Question::NextId, Answer::Id(id)) => {
                self.identity = Identity::Applied { id, code: self.rules.check_code.clone() };
                self.acts.push(Act::Keep(self.identity.clone()));
            }
            (Question::ApplyId { id, .. }, Answer::Applied) => {
                self.identity = Identity::Known(*id);
                self.acts.push(Act::Keep(self.identity.clone()));
            }
            (Question::Register { .. }, Answer::Standing(standing)) => {
                self.is_registered = true;
                // Before an election is asked for: only who is alive is elected.
                self.next_beat = now + self.rules.beat_ms;
                self.acts.push(Act::Beat);
                self.take(now, standing, "registered with the controller");
            }
            (Question::Elect { .. }, Answer::Standing(standing)) => {
                self.take(now, standing, "there was no master, and an election was asked for");
            }
            (Question::Group, Answer::Standing(standing)) => {
                self.take(now, standing, "the controller was asked");
            }
            (Question::AlterInSync { members, replaces, .. }, Answer::InSync(in_sync)) => {
                // What the master wanted meanwhile replaces what is not the present set any more.
                if self.wish.as_ref().is_some_and(|wish| wish.0 == *members && wish.1 == *replaces) {
                    self.wish = None;
                }
                self.in_sync_is(in_sync);
                self.next_question = now + self.rules.look_ms;
            }
            // An answer to something else: as if there were none.
            _ => {
                self.leader = None;
                self.next_question = now + LOOK_AGAIN_MS;
            }
        }
    }

    pub(super) fn refused(&mut self, now: i64, question: &Question, code: i32, remark: &str) {
        match (question, code) {
            (Question::ApplyId { .. }, refusal::ID_TAKEN) => {
                // Another new broker was quicker.
                self.identity = Identity::Unknown;
                self.acts.push(Act::Keep(Identity::Unknown));
                self.next_question = now;
            }
            (Question::Register { id }, refusal::NOT_REGISTERED | refusal::UNKNOWN_GROUP) => {
                let text = format!(
                    "the controller knows no broker {id} in this group ({remark}): if it was removed on purpose, or \
                     the controllers have lost their state, remove the file brokerIdentity in the store's folder to \
                     let this broker join as a new one"
                );
                self.complain(now, text);
            }
            (Question::Elect { .. } | Question::Group, refusal::NOT_REGISTERED | refusal::UNKNOWN_GROUP) => {
                self.is_registered = false;
            }
            (Question::Elect { .. }, _) => {
                let text = format!(
                    "the controller elects no master (code {code}: {remark}): none of those who have all messages is up"
                );
                self.complain(now, text);
            }
            (Question::AlterInSync { .. }, _) => {
                // The set may have changed, or the master: the group is looked at, and the wish is told again.
                self.wish = None;
                self.next_question = now;
            }
            _ => {
                let text = format!("the controller refuses {question:?} (code {code}: {remark}); trying again");
                self.complain(now, text);
            }
        }
    }
}
