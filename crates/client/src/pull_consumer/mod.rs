//! Consuming queues that were chosen by hand.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::interceptor::{Hooks, Interceptor, Interceptors};
use crate::offsets;
use crate::pull::{Filter, From, PulledMessage, Puller, Wait};
use crate::route::MASTER;
use crate::shared::Shared;
use crate::{Codecs, Error, Queue, Received};

mod assignment;

use assignment::{Assignment, Bounds};

/// How a [`PullConsumer`] is to be.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
/// let builder = client.pull_consumer("billing").from_first().tags("book || pen");
/// let consumer = builder.commit_every(Duration::from_secs(5)).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PullConsumerBuilder {
    shared: Arc<Shared>,
    group: String,
    filter: Filter,
    from: From,
    bounds: Bounds,
    commit_every: Option<Duration>,
    interceptors: Interceptors,
}

/// Consumes the queues that it is told to, from where it is told to (upstream `DefaultLitePullConsumer` with `assign`,
/// and `DefaultMQPullConsumer`).
///
/// Offsets are committed for its group, of which it is no member: other consumers of the group do not share queues
/// with it, and nothing keeps two of this kind from reading the same one.
///
/// ```no_run
/// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
/// use apogee_client::From;
///
/// let mut consumer = client.pull_consumer("billing").build()?;
/// let queues = consumer.queues("Orders").await?;
/// consumer.assign(queues.clone()).await?;
/// consumer.seek(&queues[0], From::First).await?;
/// while let Some(messages) = consumer.next_batch(100).await {
///     for message in messages? {
///         println!("{} {:?}", message.queue, message.body);
///     }
///     consumer.commit().await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct PullConsumer {
    puller: Puller,
    from: From,
    assignment: Arc<Assignment>,
    hooks: Arc<Hooks>,
    commit_every: Option<Duration>,
    committed_at: Instant,
}

/// What one pull by hand brought, see [`PullConsumer::pull`].
///
/// ```no_run
/// # async fn example(consumer: apogee_client::PullConsumer) -> Result<(), apogee_client::Error> {
/// let queue = &consumer.queues("Orders").await?[0];
/// let mut offset = 0;
/// loop {
///     let pull = consumer.pull(queue, offset, 32).await?;
///     if pull.messages.is_empty() && pull.next_offset >= pull.max_offset {
///         break;
///     }
///     offset = pull.next_offset;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pull {
    /// The messages that the filter lets through, in order; an error for each whose body cannot be restored,
    /// or that an interceptor refuses.
    pub messages: Vec<Result<Received, Error>>,
    /// Where the next pull goes on. It is past what the filter held back, and inside the queue when the offset
    /// asked for was not.
    pub next_offset: i64,
    /// The oldest offset of the queue.
    pub min_offset: i64,
    /// The one that the next message gets.
    pub max_offset: i64,
}

impl PullConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> Self {
        let bounds = Bounds { messages: 1_000, bytes: 16 << 20 };
        let interceptors = shared.settings.interceptors.clone();
        Self { shared, group, filter: Filter::all(), from: From::Last, bounds, commit_every: None, interceptors }
    }

    /// Only messages with one of some tags, written `a || b`.
    pub fn tags(mut self, tags: impl Into<String>) -> Self {
        self.filter = Filter::tags(tags);
        self
    }

    /// Only messages that a SQL92 expression matches, such as `price > 10 AND region = 'eu'`.
    pub fn sql(mut self, expression: impl Into<String>) -> Self {
        self.filter = Filter::sql(expression);
        self
    }

    /// Where to begin in a queue that the group has committed nothing of (with the next message that comes).
    pub fn from(mut self, from: From) -> Self {
        self.from = from;
        self
    }

    /// The same from the oldest message on.
    pub fn from_first(self) -> Self {
        self.from(From::First)
    }

    /// Messages of one queue that are fetched and not handed out (1,000).
    pub fn max_fetched_messages(mut self, messages: usize) -> Self {
        self.bounds.messages = messages.max(1);
        self
    }

    /// Bytes of bodies of one queue that are fetched and not handed out (16 MiB).
    pub fn max_fetched_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes.max(1);
        self
    }

    /// Commits by itself, so often (never). It does so when the next messages are asked for, which is taken to mean
    /// that those handed out before are done, in [`PullConsumer::assign`] and in [`PullConsumer::close`].
    pub fn commit_every(mut self, every: Duration) -> Self {
        self.commit_every = Some(every);
        self
    }

    /// By which bodies are decoded, instead of the client's codecs.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.interceptors.codecs = codecs;
        self
    }

    /// Calls an interceptor for each message that is handed out, after those of the client.
    pub fn interceptor(mut self, interceptor: impl Interceptor + 'static) -> Self {
        self.interceptors.push(interceptor);
        self
    }

    /// Makes it. It has no queues yet.
    ///
    /// # Errors
    /// When the group's name is none, or the client was closed.
    pub fn build(self) -> Result<PullConsumer, Error> {
        let group = self.shared.group(&self.group)?;
        self.shared.check_open()?;
        let hooks = Hooks::new(&self.shared.id, &group, self.interceptors);
        Ok(PullConsumer {
            hooks,
            puller: Puller { shared: self.shared, group: group.into(), filter: self.filter },
            from: self.from,
            assignment: Arc::new(Assignment::new(self.bounds)),
            commit_every: self.commit_every,
            committed_at: Instant::now(),
        })
    }
}

impl PullConsumer {
    /// The queues of a topic that can be read, in order.
    ///
    /// # Errors
    /// When the topic is not there.
    pub async fn queues(&self, topic: &str) -> Result<Vec<Queue>, Error> {
        let topic = self.puller.shared.topic(topic)?;
        Ok(self.puller.shared.route(&topic).await?.readable.clone())
    }

    /// Consumes these queues from now on, and no others. Those that it had already go on where they are; a new one
    /// begins with what the group has committed of it, or else where the builder says.
    ///
    /// # Errors
    /// When a queue's beginning cannot be found, or, where it commits by itself, an offset is not committed. The assignment is then as before.
    pub async fn assign(&mut self, queues: impl IntoIterator<Item = Queue>) -> Result<(), Error> {
        let wanted: Vec<_> = queues.into_iter().collect();
        let mut begun = Vec::new();
        for queue in wanted.iter().filter(|queue| self.assignment.position(queue).is_none()) {
            let offset = match offsets::committed(&self.puller.shared, &self.puller.group, queue).await? {
                Some(offset) => offset,
                None => self.puller.first_offset(queue, self.from).await?,
            };
            begun.push((queue.clone(), offset));
        }
        if self.commit_every.is_some() {
            self.commit().await?;
        }
        self.assignment.keep(&wanted);
        for (queue, offset) in begun {
            self.assignment.begin(&self.puller, queue, offset);
        }
        Ok(())
    }

    /// The queues that it consumes, in order.
    pub fn assigned(&self) -> Vec<Queue> {
        self.assignment.queues()
    }

    /// The next message of any queue that is not paused; waits for it. `None` when the client was closed. May be
    /// dropped: nothing is lost.
    ///
    /// # Errors
    /// [`Error::Body`] for a message whose body cannot be restored, [`Error::Intercepted`] for one that an interceptor
    /// refuses; it is passed over. Any other error ends the queue
    /// that it is of, which may be assigned anew.
    pub async fn next(&mut self) -> Option<Result<Received, Error>> {
        let batch = self.next_batch(1).await?;
        batch.map(|mut batch| batch.pop()).transpose()
    }

    /// The next messages of one queue that is not paused, as many as are there, at least one and at most `max`; waits
    /// for them. Queues take turns. `None` when the client was closed. May be dropped: nothing is lost.
    ///
    /// # Errors
    /// See [`PullConsumer::next`].
    pub async fn next_batch(&mut self, max: usize) -> Option<Result<Vec<Received>, Error>> {
        self.assignment.done();
        if self.commit_every.is_some_and(|every| self.committed_at.elapsed() >= every) {
            self.committed_at = Instant::now();
            if let Err(error) = self.commit_done().await {
                tracing::warn!(group = &*self.puller.group, %error, "an offset is not committed, and is tried again");
            }
        }
        tokio::select! {
            biased;
            () = self.puller.shared.closed() => None,
            batch = self.assignment.take(max.max(1)) => Some(batch.and_then(|batch| self.intercepted(batch))),
        }
    }

    /// What interceptors make of a batch. One that they refuse is an error of its own, as one that cannot be read is.
    fn intercepted(&self, batch: Vec<Received>) -> Result<Vec<Received>, Error> {
        let (mut passed, mut rest) = (Vec::with_capacity(batch.len()), batch.into_iter());
        while let Some(mut message) = rest.next() {
            let Err(refused) = self.hooks.read(&mut message) else {
                passed.push(message);
                continue;
            };
            let rest = rest.map(|message| PulledMessage { message, unreadable: None });
            if passed.is_empty() {
                self.assignment.put_back(rest);
                return Err(refused);
            }
            let refused = PulledMessage { message, unreadable: Some(refused) };
            self.assignment.put_back([refused].into_iter().chain(rest));
            break;
        }
        Ok(passed)
    }

    /// Goes on elsewhere in a queue: what was fetched of it is forgotten.
    ///
    /// # Errors
    /// [`Error::NotAssigned`], or when the offset cannot be found.
    pub async fn seek(&mut self, queue: &Queue, from: From) -> Result<(), Error> {
        self.position(queue)?;
        let offset = self.puller.first_offset(queue, from).await?;
        self.assignment.begin(&self.puller, queue.clone(), offset);
        Ok(())
    }

    /// Hands out nothing of these queues until [`PullConsumer::resume`]. Those that it has not are passed over.
    pub fn pause<'q>(&self, queues: impl IntoIterator<Item = &'q Queue>) {
        self.assignment.set_paused(queues, true);
    }

    /// Hands out messages of these queues again.
    pub fn resume<'q>(&self, queues: impl IntoIterator<Item = &'q Queue>) {
        self.assignment.set_paused(queues, false);
    }

    /// The offset at which a queue begins, ends, or has a time; any queue, assigned or not (upstream `minOffset`,
    /// `maxOffset`, `offsetForTimestamp`).
    ///
    /// # Errors
    /// When the broker gives no answer.
    pub async fn offset(&self, queue: &Queue, from: From) -> Result<i64, Error> {
        self.puller.first_offset(queue, from).await
    }

    /// The offset behind the last message of a queue that was handed out.
    ///
    /// # Errors
    /// [`Error::NotAssigned`].
    pub fn position(&self, queue: &Queue) -> Result<i64, Error> {
        self.assignment.position(queue).ok_or_else(|| Error::NotAssigned(queue.to_string()))
    }

    /// The offset that the group has committed in a queue; any queue, assigned or not. `None` when it never did.
    ///
    /// # Errors
    /// When the broker gives no answer.
    pub async fn committed(&self, queue: &Queue) -> Result<Option<i64>, Error> {
        offsets::committed(&self.puller.shared, &self.puller.group, queue).await
    }

    /// Commits the positions of all queues: everything that was handed out is done.
    ///
    /// # Errors
    /// The last one, when an offset could not be committed; the others are all the same.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.assignment.done();
        self.commit_done().await
    }

    /// Commits one offset of a queue; any queue, assigned or not. The position is left alone.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn commit_offset(&self, queue: &Queue, offset: i64) -> Result<(), Error> {
        offsets::commit(&self.puller.shared, &self.puller.group, queue, offset).await
    }

    async fn commit_done(&self) -> Result<(), Error> {
        let mut done = Ok(());
        for (queue, offset) in self.assignment.to_commit() {
            match self.commit_offset(&queue, offset).await {
                Ok(()) => self.assignment.committed(&queue, offset),
                Err(error) => done = Err(error),
            }
        }
        done
    }

    /// Pulls once, up to `max` messages (at most 32 come with Apache's defaults) from an offset of a queue; any queue,
    /// assigned or not, and leaves positions alone. Does not wait for messages (upstream
    /// `DefaultMQPullConsumer.pull`).
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn pull(&self, queue: &Queue, offset: i64, max: u32) -> Result<Pull, Error> {
        let max = max.clamp(1, i32::MAX as u32) as i32;
        let pulled = self.puller.pull_upto(queue, offset, MASTER, max, Wait::No).await?;
        let messages = pulled.messages.into_iter();
        Ok(Pull {
            messages: messages
                .map(|mut pulled| match pulled.unreadable {
                    None => self.hooks.read(&mut pulled.message).map(|()| pulled.message),
                    Some(error) => Err(error),
                })
                .collect(),
            next_offset: pulled.next,
            min_offset: pulled.min,
            max_offset: pulled.max,
        })
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.puller.group
    }

    /// Fetches no more. Where it commits by itself, what was handed out is committed.
    ///
    /// # Errors
    /// When an offset could not be committed.
    pub async fn close(mut self) -> Result<(), Error> {
        match self.commit_every {
            Some(_) => self.commit().await,
            None => Ok(()),
        }
    }
}

impl Drop for PullConsumer {
    fn drop(&mut self) {
        // Those that fetch hold the assignment.
        self.assignment.keep(&[]);
    }
}

impl fmt::Debug for PullConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullConsumer").field("group", &self.puller.group).finish_non_exhaustive()
    }
}
