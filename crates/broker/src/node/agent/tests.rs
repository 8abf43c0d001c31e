//! A group of brokers and a controller whose messages are late, lost and doubled by the dice.

use std::collections::{BTreeMap, BTreeSet};

use apogee_base::rng::Rng;

use super::*;

const SILENCE_MS: i64 = 3_000;

fn rules(broker: usize) -> Rules {
    Rules {
        address: address(broker),
        controllers: ["c0", "c1", "c2"].map(str::to_owned).to_vec(),
        look_ms: 1_000,
        beat_ms: 500,
        silence_ms: SILENCE_MS,
        acknowledges_early: false,
        check_code: format!("b{broker};1"),
    }
}

fn address(broker: usize) -> String {
    format!("b{broker}:1")
}

/// A controller as brokers see it, whichever of the machines leads.
#[derive(Default)]
struct Controller {
    leader: usize,
    ids: BTreeMap<i64, String>,
    addresses: BTreeMap<i64, String>,
    heard: BTreeMap<i64, i64>,
    standing: Standing,
}

impl Controller {
    fn alive(&self, id: i64, now: i64) -> bool {
        self.heard.get(&id).is_some_and(|heard| now - heard < SILENCE_MS)
    }

    /// Elects one of those in sync if the master is gone; says whether there was a change.
    fn elect(&mut self, now: i64, asks: Option<i64>) -> bool {
        if self.standing.master.as_ref().is_some_and(|(id, _)| self.alive(*id, now)) {
            return false;
        }
        let members = &self.standing.in_sync.members;
        let first = asks.filter(|id| members.is_empty() || members.contains(id));
        let Some(id) = first.or_else(|| members.iter().copied().find(|id| self.alive(*id, now))) else { return false };
        let epoch = self.standing.epoch + 1;
        let in_sync = InSync { members: [id].into(), epoch: self.standing.in_sync.epoch + 1 };
        self.standing = Standing { master: Some((id, self.addresses[&id].clone())), epoch, in_sync };
        true
    }

    fn ask(&mut self, now: i64, asked: usize, question: &Question) -> Result<Answer, Failure> {
        let refused = |code| Err(Failure::Refused { code, remark: String::new() });
        if *question == Question::Leader {
            let address = Some(format!("c{}", self.leader));
            return Ok(Answer::Leader { address, is_itself: asked == self.leader });
        }
        if asked != self.leader {
            return refused(refusal::NOT_LEADER);
        }
        match question {
            Question::NextId => Ok(Answer::Id(self.ids.keys().last().map_or(1, |last| last + 1))),
            Question::ApplyId { id, code } => {
                let owner = self.ids.entry(*id).or_insert_with(|| code.clone());
                if owner == code { Ok(Answer::Applied) } else { refused(refusal::ID_TAKEN) }
            }
            Question::Register { id } => {
                // An address is its code's first part.
                let Some(code) = self.ids.get(id) else { return refused(refusal::NOT_REGISTERED) };
                self.addresses.insert(*id, code.replace(';', ":"));
                Ok(Answer::Standing(self.standing.clone()))
            }
            Question::Elect { id } => {
                self.elect(now, Some(*id));
                match self.standing.master {
                    Some(_) => Ok(Answer::Standing(self.standing.clone())),
                    None => refused(2012),
                }
            }
            Question::Group => Ok(Answer::Standing(self.standing.clone())),
            Question::AlterInSync { epoch, members, replaces, .. } => {
                if (*epoch, *replaces) != (self.standing.epoch, self.standing.in_sync.epoch) {
                    return refused(2000);
                }
                self.standing.in_sync = InSync { members: members.clone(), epoch: replaces + 1 };
                Ok(Answer::InSync(self.standing.in_sync.clone()))
            }
            Question::Leader => unreachable!("answered above"),
        }
    }
}

enum Message {
    Question { from: usize, life: u64, to: usize, question: Question },
    Outcome { to: usize, life: u64, question: Question, outcome: Result<Answer, Failure> },
    Beat { id: i64 },
    Notice { to: usize, standing: Standing },
}

struct Member {
    agent: Agent,
    kept: Identity,
    life: u64,
    down_until: i64,
}

struct World {
    rng: Rng,
    now: i64,
    faults: bool,
    controller: Controller,
    members: Vec<Member>,
    mail: BTreeMap<(i64, u64), Message>,
    sent: u64,
    masters: BTreeMap<i32, usize>,
    numbers: BTreeMap<i64, usize>,
}

impl World {
    fn new(seed: u64, brokers: usize) -> Self {
        let member = |broker| Member {
            agent: Agent::new(rules(broker), Identity::Unknown, 0, 0),
            kept: Identity::Unknown,
            life: 0,
            down_until: 0,
        };
        Self {
            rng: Rng::new(seed),
            now: 0,
            faults: true,
            controller: Controller::default(),
            members: (0..brokers).map(member).collect(),
            mail: BTreeMap::new(),
            sent: 0,
            masters: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Late by the dice; doubled where that can happen.
    fn post(&mut self, message: Message) {
        let most = if self.faults { 800 } else { 20 };
        let at = self.now + 1 + self.rng.below(most) as i64;
        self.sent += 1;
        self.mail.insert((at, self.sent), message);
    }

    fn lost(&mut self) -> bool {
        self.faults && self.rng.chance(15)
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Question { from, life, to, question } => {
                let outcome = match self.lost() {
                    true => Err(Failure::Unreachable("lost".into())),
                    false => self.controller.ask(self.now, to, &question),
                };
                // Done, but its answer is lost.
                let outcome = if self.lost() { Err(Failure::Unreachable("lost".into())) } else { outcome };
                self.post(Message::Outcome { to: from, life, question, outcome });
            }
            Message::Outcome { to, life, question, outcome } => {
                let (now, member) = (self.now, &mut self.members[to]);
                if member.life == life {
                    member.agent.answered(now, &question, outcome);
                }
            }
            Message::Beat { id } => {
                self.controller.heard.insert(id, self.now);
            }
            Message::Notice { to, standing } => {
                let (now, member) = (self.now, &mut self.members[to]);
                if now >= member.down_until {
                    member.agent.told(now, standing);
                }
            }
        }
    }

    fn perform(&mut self, broker: usize) {
        for act in self.members[broker].agent.acts() {
            let life = self.members[broker].life;
            match act {
                Act::Ask { to, question } => {
                    let to = to[1..].parse().expect("a controller");
                    self.post(Message::Question { from: broker, life, to, question });
                }
                Act::Beat => {
                    let id = self.members[broker].agent.id().expect("who is registered has a number");
                    if !self.lost() {
                        self.post(Message::Beat { id });
                    }
                }
                Act::Keep(identity) => {
                    if let Identity::Known(id) = identity {
                        assert_eq!(*self.numbers.entry(id).or_insert(broker), broker, "two brokers have one number");
                    }
                    self.members[broker].kept = identity;
                }
                Act::Become { role: Some(Role::Master(elected)), .. } => {
                    let first = *self.masters.entry(elected.epoch).or_insert(broker);
                    assert_eq!(first, broker, "two masters of epoch {}", elected.epoch);
                }
                Act::Become { .. } | Act::InSync(_) | Act::Complain(_) => {}
            }
        }
    }

    fn step(&mut self) {
        self.now += 1;
        while let Some(entry) = self.mail.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let message = entry.remove();
            self.deliver(message);
        }
        if self.faults {
            if self.rng.below(4_000) == 0 {
                self.controller.leader = self.rng.below(3) as usize;
            }
            let broker = self.rng.below(self.members.len() as u64) as usize;
            if self.rng.below(6_000) == 0 {
                let down = self.rng.below(6_000) as i64;
                let member = &mut self.members[broker];
                member.life += 1;
                member.down_until = self.now + down;
                member.agent = Agent::new(rules(broker), member.kept.clone(), member.agent.epoch(), self.now + down);
            }
            // A master finds that all, or only some, are in sync.
            if self.rng.below(1_000) == 0 {
                let Some(Role::Master(elected)) = self.members[broker].agent.role().cloned() else { return };
                let mut members: BTreeSet<i64> = self.numbers.keys().copied().collect();
                members.retain(|id| *id == elected.broker_id || self.rng.chance(60));
                self.members[broker].agent.wants(self.now, members, elected.in_sync.epoch);
            }
        }
        if self.now % 200 == 0 && self.controller.elect(self.now, None) {
            for to in 0..self.members.len() {
                let standing = self.controller.standing.clone();
                self.post(Message::Notice { to, standing });
            }
        }
        for broker in 0..self.members.len() {
            let member = &mut self.members[broker];
            let before = member.agent.epoch();
            if self.now >= member.down_until && self.now >= member.agent.next_due() {
                member.agent.due(self.now);
            }
            assert!(member.agent.epoch() >= before, "an epoch was taken back");
            self.perform(broker);
        }
    }
}

#[test]
fn whatever_the_network_does_each_epoch_has_one_master_and_in_the_end_all_agree() {
    for seed in 0..200 {
        let mut world = World::new(seed, 3);
        for _ in 0..40_000 {
            world.step();
        }
        world.faults = false;
        for _ in 0..15_000 {
            world.step();
        }
        let (id, address) = world.controller.standing.master.clone().expect("a master");
        for member in &world.members {
            match member.agent.role() {
                Some(Role::Master(elected)) => assert_eq!(
                    (elected.broker_id, elected.epoch, &elected.in_sync),
                    (id, world.controller.standing.epoch, &world.controller.standing.in_sync),
                    "seed {seed}"
                ),
                Some(Role::Slave(follows)) => {
                    assert_eq!(follows.master.as_ref(), Some(&address), "seed {seed}");
                    assert_ne!(follows.broker_id, id, "seed {seed}");
                }
                other => panic!("seed {seed}: {other:?}: {:?}", member.agent),
            }
        }
    }
}

/// An agent that has its number, and that a controller made the master of epoch 3 among `members`.
fn master(rules: Rules, members: &[i64]) -> Agent {
    let mut agent = Agent::new(rules, Identity::Known(1), 0, 0);
    let in_sync = InSync { members: members.iter().copied().collect(), epoch: 7 };
    agent.due(0);
    agent.answered(0, &Question::Leader, Ok(Answer::Leader { address: Some("c1".into()), is_itself: true }));
    agent.due(0);
    let standing = Standing { master: Some((1, "b0:1".into())), epoch: 3, in_sync };
    agent.answered(0, &Question::Register { id: 1 }, Ok(Answer::Standing(standing)));
    assert!(matches!(agent.role(), Some(Role::Master(elected)) if elected.epoch == 3));
    agent.acts();
    agent
}

#[test]
fn what_is_not_newer_changes_no_role() {
    let mut agent = master(rules(0), &[1, 2]);
    let others = |epoch| Standing { master: Some((2, "b1:1".into())), epoch, in_sync: InSync::default() };
    agent.told(1, others(2));
    assert_eq!(agent.acts(), [], "an old election");
    agent.told(1, others(3));
    assert!(matches!(&agent.acts()[..], [Act::Complain(text)] if text.contains("two masters of epoch 3")));
    agent.told(1, others(4));
    assert!(matches!(&agent.acts()[..], [Act::Become { role: Some(Role::Slave(_)), .. }]));
}

#[test]
fn a_master_without_a_controller_goes_on_only_if_it_acknowledges_nothing_alone() {
    let run = |acknowledges_early, members: &[i64]| {
        let mut agent = master(Rules { acknowledges_early, ..rules(0) }, members);
        for now in 0..2 * SILENCE_MS {
            agent.due(now);
            for act in agent.acts() {
                if let Act::Ask { question, .. } = act {
                    agent.answered(now, &question, Err(Failure::Unreachable("cut off".into())));
                }
            }
        }
        agent.role().is_some()
    };
    assert!(run(false, &[1, 2]), "it waits for all in sync, the new master among them");
    assert!(run(true, &[1]), "nobody else can be elected");
    assert!(!run(true, &[1, 2]));
}

#[test]
fn a_broker_whose_number_another_one_uses_serves_nobody() {
    let mut agent = master(rules(0), &[1]);
    let standing = Standing { master: Some((1, "b9:1".into())), epoch: 3, in_sync: InSync::default() };
    agent.told(5, standing);
    assert!(matches!(
        &agent.acts()[..],
        [Act::Complain(text), Act::Become { role: None, .. }] if text.contains("brokerIdentity") && text.contains("b9:1")
    ));
}

#[test]
fn a_broker_that_cannot_serve_is_silent_until_it_is_given_up() {
    let mut agent = master(rules(0), &[1, 2]);
    agent.due(1_500);
    let asked = agent.acts();
    assert!(matches!(&asked[..], [Act::Ask { .. }, ..] | [.., Act::Ask { .. }]), "{asked:?}");
    agent.failed(1_500, "the disk failed");
    assert!(matches!(&agent.acts()[..], [Act::Become { role: None, .. }]));
    // Its connections are closed then, and what it had asked has an outcome.
    agent.answered(1_501, &Question::Group, Err(Failure::Unreachable("closed".into())));
    for now in 1_501..1_500 + SILENCE_MS {
        agent.due(now);
        assert_eq!(agent.acts(), [], "at {now}");
    }
}
