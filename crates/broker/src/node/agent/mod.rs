//! How a broker comes to its role by the word of a controller (upstream `ReplicasManager`): decisions only. It is
//! told the time and what was answered, and says what to ask, what to keep and what to become.
//!
//! The way to a role: find the controller that leads; have a number of one's own, once in a life; register; ask for
//! an election where there is no master. From then on the group is looked at from time to time, and at once when the
//! controller says that it changed. A role of an epoch that is not higher than that of the present one changes
//! nothing; so what comes late or twice does no harm.
//!
//! A master that hears of no controller may have been replaced. It goes on all the same, as long as it acknowledges
//! nothing that not all replicas in sync have: the new master is one of those and copies nothing from the old one any
//! more, so the old one has nothing to acknowledge; and where the set is only itself, none but itself can be elected.
//! Where it may acknowledge without them it ends its time by itself when the controller must have given it up.

use std::collections::BTreeSet;

use crate::replication::{Elected, Follows, InSync, Role, Standing};

mod answers;
mod words;

pub(crate) use words::{Act, Answer, Failure, Identity, Question, Rules};

/// Pause after which a controller that leads is looked for again.
const LOOK_AGAIN_MS: i64 = 200;
/// Pause after a refusal.
const ASK_AGAIN_MS: i64 = 1_000;
/// What goes on is complained of so often.
const COMPLAIN_MS: i64 = 30_000;

/// Upstream's codes of refusals that mean something here.
pub(crate) mod refusal {
    pub use apogee_wire::codes::response::{
        CONTROLLER_BROKER_ID_INVALID as ID_TAKEN, CONTROLLER_BROKER_METADATA_NOT_EXIST as UNKNOWN_GROUP,
        CONTROLLER_BROKER_NEED_TO_BE_REGISTERED as NOT_REGISTERED, CONTROLLER_NOT_LEADER as NOT_LEADER,
    };
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Agent {
    rules: Rules,
    identity: Identity,
    /// The controller that leads.
    leader: Option<String>,
    /// How many controllers have not said yet who leads, and who was named.
    looking: usize,
    named: Option<String>,
    /// What the leader was asked and has not answered.
    asked: Option<Question>,
    is_registered: bool,
    /// There was a master when last heard.
    has_master: bool,
    /// The highest epoch that was heard of.
    epoch: i32,
    role: Option<Role>,
    /// A set of replicas in sync that the master wants.
    wish: Option<(BTreeSet<i64>, i32)>,
    /// When the leader last answered.
    heard_at: i64,
    next_question: i64,
    /// Nothing is asked before, whatever is answered meanwhile.
    silent_until: i64,
    next_beat: i64,
    next_complaint: i64,
    acts: Vec<Act>,
}

impl Agent {
    /// Begins with what was kept: the number, and the highest epoch that the log knows of (0: none).
    pub fn new(rules: Rules, identity: Identity, epoch: i32, now: i64) -> Self {
        Self {
            rules,
            identity,
            leader: None,
            looking: 0,
            named: None,
            asked: None,
            is_registered: false,
            has_master: false,
            epoch,
            role: None,
            wish: None,
            heard_at: now,
            next_question: now,
            silent_until: now,
            next_beat: now,
            next_complaint: now,
            acts: Vec::new(),
        }
    }

    /// What is to be done since the last call, in this order.
    pub fn acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Its number in the group.
    pub fn id(&self) -> Option<i64> {
        match self.identity {
            Identity::Known(id) => Some(id),
            Identity::Unknown | Identity::Applied { .. } => None,
        }
    }

    /// The highest epoch that was heard of.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// What it is to be at present.
    pub fn role(&self) -> Option<&Role> {
        self.role.as_ref()
    }

    /// When [`Agent::due`] is to be called next, if nothing else happens.
    pub fn next_due(&self) -> i64 {
        let mut next = i64::MAX;
        if self.asked.is_none() && self.looking == 0 {
            next = next.min(self.next_question.max(self.silent_until));
        }
        if self.is_registered {
            next = next.min(self.next_beat);
        }
        if self.is_to_end_alone() {
            next = next.min(self.heard_at + self.rules.silence_ms);
        }
        next
    }

    /// Time has passed.
    pub fn due(&mut self, now: i64) {
        if self.is_registered && now >= self.next_beat {
            self.next_beat = now + self.rules.beat_ms;
            self.acts.push(Act::Beat);
        }
        if self.is_to_end_alone() && now >= self.heard_at + self.rules.silence_ms {
            let silence = self.rules.silence_ms;
            self.becomes(None, format!("no controller was heard of for {silence} ms: there may be another master"));
            self.is_registered = false;
        }
        if now < self.next_question.max(self.silent_until) || self.asked.is_some() || self.looking > 0 {
            return;
        }
        match self.leader.clone() {
            Some(to) => {
                let question = self.question();
                self.asked = Some(question.clone());
                self.acts.push(Act::Ask { to, question });
            }
            None => {
                self.looking = self.rules.controllers.len();
                self.named = None;
                let ask = |to: &String| Act::Ask { to: to.clone(), question: Question::Leader };
                self.acts.extend(self.rules.controllers.iter().map(ask));
            }
        }
    }

    /// A question has an outcome.
    pub fn answered(&mut self, now: i64, question: &Question, outcome: Result<Answer, Failure>) {
        if *question == Question::Leader {
            return self.named(now, outcome);
        }
        if self.asked.as_ref() != Some(question) {
            return;
        }
        self.asked = None;
        match outcome {
            Ok(answer) => {
                self.heard_at = now;
                self.next_question = now;
                self.take_answer(now, question, answer);
            }
            Err(Failure::Refused { code, remark }) if code != refusal::NOT_LEADER => {
                self.heard_at = now;
                self.next_question = now + ASK_AGAIN_MS;
                self.refused(now, question, code, &remark);
            }
            Err(_) => {
                self.leader = None;
                self.next_question = now + LOOK_AGAIN_MS;
            }
        }
    }

    /// The controller says by itself how the group stands. Before the broker has registered it may speak to the
    /// process that was here before.
    pub fn told(&mut self, now: i64, standing: Standing) {
        if self.is_registered {
            self.take(now, standing, "the controller said so");
        }
    }

    /// The master wants another set of replicas in sync than that of epoch `replaces`.
    pub fn wants(&mut self, now: i64, members: BTreeSet<i64>, replaces: i32) {
        if matches!(self.role, Some(Role::Master(_))) {
            self.wish = Some((members, replaces));
            if self.is_registered && self.has_master && self.leader.is_some() {
                self.next_question = self.next_question.min(now);
            }
        }
    }

    /// Whether a message may be acknowledged that not all replicas in sync have.
    pub fn acknowledges_early(&mut self, early: bool) {
        self.rules.acknowledges_early = early;
    }

    /// What was to be kept could not be: it is asked for again.
    pub fn not_kept(&mut self, now: i64) {
        self.identity = match &self.identity {
            Identity::Known(id) => Identity::Applied { id: *id, code: self.rules.check_code.clone() },
            Identity::Applied { .. } | Identity::Unknown => Identity::Unknown,
        };
        self.next_question = now + ASK_AGAIN_MS;
    }

    /// The broker cannot be what it is to be: for as long as it takes a controller to give it up, it says nothing.
    pub fn failed(&mut self, now: i64, why: &str) {
        self.becomes(None, why.to_owned());
        self.is_registered = false;
        self.silent_until = now + self.rules.silence_ms + ASK_AGAIN_MS;
    }

    fn is_to_end_alone(&self) -> bool {
        match &self.role {
            Some(Role::Master(elected)) => self.rules.acknowledges_early && elected.in_sync.members.len() > 1,
            _ => false,
        }
    }

    fn question(&self) -> Question {
        match &self.identity {
            Identity::Unknown => Question::NextId,
            Identity::Applied { id, code } => Question::ApplyId { id: *id, code: code.clone() },
            Identity::Known(id) if !self.is_registered => Question::Register { id: *id },
            Identity::Known(id) if !self.has_master => Question::Elect { id: *id },
            Identity::Known(id) => match (&self.wish, &self.role) {
                (Some((members, replaces)), Some(Role::Master(elected))) => Question::AlterInSync {
                    id: *id,
                    epoch: elected.epoch,
                    members: members.clone(),
                    replaces: *replaces,
                },
                _ => Question::Group,
            },
        }
    }

    /// Takes what a controller said, if it is news.
    fn take(&mut self, now: i64, standing: Standing, why: &str) {
        let Identity::Known(id) = self.identity else { return };
        if standing.epoch < self.epoch {
            if self.role.is_none() {
                let (said, known) = (standing.epoch, self.epoch);
                let text = format!(
                    "the controller speaks of epoch {said}, and this broker's log has records of epoch {known}: it has \
                     lost what it knew, or is another group's; this broker serves nobody until that is put right"
                );
                self.complain(now, text);
            }
            return;
        }
        let Standing { master, epoch, in_sync } = standing;
        let is_new = epoch > self.epoch;
        self.has_master = master.is_some();
        let Some((master_id, address)) = master else {
            // The role is kept: nobody else has it. Whoever is elected has a higher epoch.
            self.next_question = now;
            return;
        };
        self.next_question = now + self.rules.look_ms;
        if master_id == id && address != self.rules.address {
            let text = format!(
                "another broker, at {address}, registered with this broker's number {id}: two brokers use copies of one \
                 file brokerIdentity; stop one of them, and remove that file from its store's folder"
            );
            self.complain(now, text.clone());
            return self.becomes(None, text);
        }
        let is_same_master = match &self.role {
            Some(Role::Master(_)) => master_id == id,
            Some(Role::Slave(_)) => master_id != id,
            Some(Role::AsSet) | None => false,
        };
        let was_slave_of_it =
            matches!(&self.role, Some(Role::Slave(follows)) if follows.master.as_ref() == Some(&address));
        match () {
            // Of one epoch there is one master.
            () if !is_new && self.role.is_some() && !is_same_master => {
                self.complain(now, format!("the controller names two masters of epoch {epoch}; the first one counts"));
            }
            () if master_id == id && !is_new && is_same_master => self.in_sync_is(in_sync),
            () if master_id == id => {
                self.epoch = epoch;
                self.wish = None;
                let elected = Elected { broker_id: id, epoch, in_sync };
                self.becomes(Some(Role::Master(elected)), format!("elected in epoch {epoch}: {why}"));
            }
            () => {
                self.epoch = epoch;
                self.wish = None;
                if !was_slave_of_it {
                    let why = format!("broker {master_id} is the master of epoch {epoch}: {why}");
                    self.becomes(Some(Role::Slave(Follows { broker_id: id, master: Some(address) })), why);
                }
            }
        }
    }

    fn in_sync_is(&mut self, in_sync: InSync) {
        let Some(Role::Master(elected)) = &mut self.role else { return };
        if in_sync.epoch > elected.in_sync.epoch {
            elected.in_sync = in_sync.clone();
            self.acts.push(Act::InSync(in_sync));
        }
    }

    fn becomes(&mut self, role: Option<Role>, why: String) {
        if self.role != role {
            self.role.clone_from(&role);
            self.acts.push(Act::Become { role, why });
        }
    }

    fn complain(&mut self, now: i64, text: String) {
        if now >= self.next_complaint {
            self.next_complaint = now + COMPLAIN_MS;
            self.acts.push(Act::Complain(text));
        }
    }
}

#[cfg(test)]
mod tests;
