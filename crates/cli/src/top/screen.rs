//! The terminal while `apogee top` has it.

use std::io::{self, Write};
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue, style};
use tokio::sync::mpsc;

use crate::top::view::Key;

/// How long the thread that reads keys waits before it looks whether anybody wants them.
const LOOK: Duration = Duration::from_millis(200);

/// The terminal, given back when dropped.
pub struct Screen {
    keys: mpsc::Receiver<Option<Key>>,
}

impl Screen {
    /// Takes the terminal.
    pub fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        let (sender, keys) = mpsc::channel(64);
        // Made first: what was taken is given back if the next step fails.
        let screen = Self { keys };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || while !sender.is_closed() && pass_on(&sender) {})?;
        Ok(screen)
    }

    /// Columns and lines.
    pub fn size(&self) -> (usize, usize) {
        let (columns, lines) = size().unwrap_or((80, 24));
        (columns.into(), lines.into())
    }

    /// Shows lines of text from the top, and one at the bottom.
    pub fn show(&self, text: &str, bottom: &str) -> io::Result<()> {
        let (columns, lines) = self.size();
        let fit = |line: &str| -> String { line.chars().take(columns).collect() };
        let mut output = io::stdout().lock();
        let rows = text.lines().take(lines.saturating_sub(1)).map(fit).chain(std::iter::repeat(String::new()));
        for (at, line) in rows.take(lines.saturating_sub(1)).enumerate() {
            let at = u16::try_from(at).unwrap_or(u16::MAX);
            queue!(output, cursor::MoveTo(0, at), style::Print(line), Clear(ClearType::UntilNewLine))?;
        }
        let last = u16::try_from(lines.saturating_sub(1)).unwrap_or(u16::MAX);
        queue!(
            output,
            cursor::MoveTo(0, last),
            style::SetAttribute(style::Attribute::Reverse),
            style::Print(format!("{:<columns$}", fit(bottom))),
            style::SetAttribute(style::Attribute::Reset)
        )?;
        output.flush()
    }

    /// The next key; `None` inside when only the size changed, outside when there is no terminal any more.
    pub async fn key(&mut self) -> Option<Option<Key>> {
        self.keys.recv().await
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to give back.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}

/// Passes one event on, if there is one; false when there will be none.
fn pass_on(keys: &mpsc::Sender<Option<Key>>) -> bool {
    match poll(LOOK) {
        Ok(true) => {}
        Ok(false) => return true,
        Err(_) => return false,
    }
    let event = match read() {
        Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
            let interrupted = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            let key = if interrupted { Some(Key::Interrupt) } else { known(key.code) };
            let Some(key) = key else { return true };
            Some(key)
        }
        Ok(Event::Resize(..)) => None,
        Ok(_) => return true,
        Err(_) => return false,
    };
    keys.blocking_send(event).is_ok()
}

fn known(code: KeyCode) -> Option<Key> {
    Some(match code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Tab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
