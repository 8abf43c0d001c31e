//! Connections to controllers, one each, made when there is something to say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apogee_net::{Conn, Limits, Service, Tcp, connect};
use apogee_wire::Command;
use tokio::sync::{mpsc, oneshot};

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(1);
/// How long an answer may take: the controllers may be about to choose their leader.
const ANSWER: Duration = Duration::from_secs(3);
/// What waits for a connection at most.
const WAITING: usize = 16;
/// Controllers that connections are kept to; those that are not in the settings are named by others.
const MOST: usize = 16;

/// Something to say.
enum Word {
    Question(Command, oneshot::Sender<Result<Command, String>>),
    Oneway(Command),
}

/// Connections to controllers. They close when this is dropped.
pub(super) struct Controllers {
    /// Gets what controllers ask of us.
    service: Arc<dyn Service>,
    lines: HashMap<String, mpsc::Sender<Word>>,
}

impl Controllers {
    pub fn new(service: Arc<dyn Service>) -> Self {
        Self { service, lines: HashMap::new() }
    }

    /// Asks a controller; the outcome comes to `done`.
    pub fn ask(
        &mut self,
        address: &str,
        question: Command,
        done: impl FnOnce(Result<Command, String>) + Send + 'static,
    ) {
        let (reply, replied) = oneshot::channel();
        // A line that is full drops the reply, and so tells.
        let _ = self.line(address).try_send(Word::Question(question, reply));
        tokio::spawn(async move {
            let busy = || Err("too much waits to be said to this controller already".to_owned());
            done(replied.await.unwrap_or_else(|_| busy()));
        });
    }

    /// Tells a controller something, if it can be reached.
    pub fn tell(&mut self, address: &str, word: Command) {
        let _ = self.line(address).try_send(Word::Oneway(word));
    }

    /// Closes all connections: the controllers count this broker as gone.
    pub fn leave(&mut self) {
        self.lines.clear();
    }

    fn line(&mut self, address: &str) -> &mpsc::Sender<Word> {
        if self.lines.len() >= MOST && !self.lines.contains_key(address) {
            self.lines.clear();
        }
        self.lines.entry(address.to_owned()).or_insert_with(|| {
            let (line, words) = mpsc::channel(WAITING);
            tokio::spawn(speak(address.to_owned(), words, Arc::clone(&self.service)));
            line
        })
    }
}

async fn speak(address: String, mut words: mpsc::Receiver<Word>, service: Arc<dyn Service>) {
    let mut open: Option<Arc<Conn>> = None;
    while let Some(word) = words.recv().await {
        let conn = match open.take().filter(|conn| conn.is_open()) {
            Some(conn) => conn,
            None => match connect(&Tcp, &address, Arc::clone(&service), Limits::default(), CONNECTING).await {
                Ok(conn) => conn,
                Err(error) => {
                    // What waited meanwhile has the same answer.
                    let mut failed = Some(word);
                    while let Some(word) = failed.take().or_else(|| words.try_recv().ok()) {
                        if let Word::Question(_, reply) = word {
                            let _ = reply.send(Err(error.to_string()));
                        }
                    }
                    continue;
                }
            },
        };
        match word {
            Word::Oneway(word) => conn.send_oneway(word),
            Word::Question(question, reply) => {
                let conn = Arc::clone(&conn);
                tokio::spawn(async move {
                    let answer = conn.call(question, ANSWER).await;
                    // Who asked may not be interested any more.
                    let _ = reply.send(answer.map_err(|error| error.to_string()));
                });
            }
        }
        open = Some(conn);
    }
    if let Some(conn) = open {
        conn.close("the broker leaves this controller");
    }
}
