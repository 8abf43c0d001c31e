//! Reading a topic as a whole, without a group that keeps the place.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::interceptor::{Hooks, Interceptor, Interceptors};
use crate::pull::{BATCH, Filter, From, Puller};
use crate::route::MASTER;
use crate::shared::Shared;
use crate::{Codecs, Error, Queue, Received};

/// Group of tools that read: every broker knows it.
pub(crate) const TOOLS: &str = "TOOLS_CONSUMER";
/// How often it is looked whether the topic has got more queues.
const LOOK: Duration = Duration::from_secs(10);

/// How a reader is to be.
#[derive(Clone)]
pub struct ReaderBuilder {
    shared: Arc<Shared>,
    topic: String,
    group: String,
    from: From,
    filter: Filter,
    interceptors: Interceptors,
}

/// Reads all queues of a topic, those included that it gets later. Of one queue, messages come in order.
pub struct Reader {
    received: mpsc::Receiver<Result<Received, Error>>,
    hooks: Arc<Hooks>,
    /// Ends with the reader.
    _tasks: JoinSet<()>,
}

impl ReaderBuilder {
    pub(crate) fn new(shared: Arc<Shared>, topic: String) -> Self {
        let interceptors = shared.settings.interceptors.clone();
        Self { shared, topic, group: TOOLS.to_owned(), from: From::Last, filter: Filter::all(), interceptors }
    }

    /// Where to begin (with the next message that comes).
    pub fn from(mut self, from: From) -> Self {
        self.from = from;
        self
    }

    /// Begins with the oldest message.
    pub fn from_first(self) -> Self {
        self.from(From::First)
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

    /// In the name of a group (`TOOLS_CONSUMER`): brokers count and limit by it. Its offsets are left alone.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// By which bodies are decoded, instead of the client's codecs.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.interceptors.codecs = codecs;
        self
    }

    /// Calls an interceptor for each message that is read, after those of the client.
    pub fn interceptor(mut self, interceptor: impl Interceptor + 'static) -> Self {
        self.interceptors.push(interceptor);
        self
    }

    /// Finds the topic's queues and begins to read.
    ///
    /// # Errors
    /// When the topic is not there, or a queue's first offset cannot be found.
    pub async fn open(mut self) -> Result<Reader, Error> {
        self.topic = self.shared.topic(&self.topic)?;
        if self.group != TOOLS {
            self.group = self.shared.group(&self.group)?;
        }
        let route = self.shared.route(&self.topic).await?;
        if route.readable.is_empty() {
            return Err(Error::NoQueue { topic: self.topic, action: "read from" });
        }
        let hooks = Hooks::new(&self.shared.id, &self.group, self.interceptors);
        let puller = Puller { shared: self.shared, group: self.group.into(), filter: self.filter };
        let mut begun = Vec::new();
        for queue in &route.readable {
            begun.push((queue.clone(), puller.first_offset(queue, self.from).await?));
        }
        // Room for what one pull brings: who reads slowly is not read ahead for.
        let (sender, received) = mpsc::channel(BATCH as usize);
        let mut tasks = JoinSet::new();
        tasks.spawn(read_all(puller, self.topic, begun, sender));
        Ok(Reader { received, hooks, _tasks: tasks })
    }
}

/// Reads the queues that there are, and those that come.
async fn read_all(
    puller: Puller,
    topic: String,
    begun: Vec<(Queue, i64)>,
    sender: mpsc::Sender<Result<Received, Error>>,
) {
    let (mut tasks, mut known) = (JoinSet::new(), HashSet::new());
    for (queue, offset) in begun {
        known.insert(queue.clone());
        tasks.spawn(read(puller.clone(), queue, offset, sender.clone()));
    }
    while !sender.is_closed() && !puller.shared.is_closed() {
        tokio::time::sleep(LOOK).await;
        let Ok(route) = puller.shared.route(&topic).await else { continue };
        for queue in &route.readable {
            if known.insert(queue.clone()) {
                // All that it has came after the reader was opened.
                tasks.spawn(read(puller.clone(), queue.clone(), 0, sender.clone()));
            }
        }
    }
}

/// Reads one queue until nobody wants it any more, or no attempt can help.
async fn read(puller: Puller, queue: Queue, mut offset: i64, sender: mpsc::Sender<Result<Received, Error>>) {
    let mut broker_id = MASTER;
    loop {
        match puller.pull(&queue, offset, broker_id).await {
            Ok(pulled) => {
                for pulled in pulled.messages {
                    if sender.send(pulled.unreadable.map_or(Ok(pulled.message), Err)).await.is_err() {
                        return;
                    }
                }
                (offset, broker_id) = (pulled.next, pulled.broker_id);
            }
            Err(error) => {
                if !puller.recovers(&queue, &error, "a pull").await {
                    // Whoever reads learns it; nobody may be there any more.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            }
        }
    }
}

impl Reader {
    /// The next message; waits for it. An error ends the queue that it is of: when all have ended, this is `None`.
    ///
    /// # Errors
    /// When a queue cannot be read, or a message's body is not what its flags say.
    pub async fn next(&mut self) -> Option<Result<Received, Error>> {
        let received = self.received.recv().await?;
        Some(self.read(received))
    }

    /// The next message if it is there already.
    ///
    /// # Errors
    /// See [`Reader::next`].
    pub fn next_now(&mut self) -> Option<Result<Received, Error>> {
        let received = self.received.try_recv().ok()?;
        Some(self.read(received))
    }

    fn read(&self, received: Result<Received, Error>) -> Result<Received, Error> {
        let mut message = received?;
        self.hooks.read(&mut message)?;
        Ok(message)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
