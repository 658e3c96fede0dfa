//! A gate before every task of a simulated process, inherited by whatever the task spawns. Closed, none of them goes on, whatever
//! wakes it: that is SIGSTOP, and if it is never opened again, SIGKILL. Timers run on meanwhile, as they do outside.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

tokio::task_local! {
    static GATE: Gate;
}

/// A process's gate; open at first.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<Bar>>);

#[derive(Default)]
struct Bar {
    closed: bool,
    waiting: Vec<Waker>,
}

/// A task behind a gate, if its parent is behind one.
pub(crate) struct Gated<F> {
    gate: Option<Gate>,
    task: Pin<Box<F>>,
}

/// Behind the gate of whoever spawns it.
pub(crate) fn inherited<F: Future>(task: F) -> Gated<F> {
    Gated { gate: GATE.try_with(Gate::clone).ok(), task: Box::pin(task) }
}

impl Gate {
    /// Behind this gate.
    pub(super) fn through<F: Future>(&self, task: F) -> Gated<F> {
        Gated { gate: Some(self.clone()), task: Box::pin(task) }
    }

    pub(super) fn close(&self) {
        self.0.lock().unwrap().closed = true;
    }

    pub(super) fn open(&self) {
        let mut bar = self.0.lock().unwrap();
        bar.closed = false;
        bar.waiting.drain(..).for_each(Waker::wake);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().unwrap().closed
    }

    fn holds(&self, waker: &Waker) -> bool {
        let mut bar = self.0.lock().unwrap();
        if bar.closed {
            bar.waiting.push(waker.clone());
        }
        bar.closed
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(gate) = self.gate.clone() else { return self.task.as_mut().poll(context) };
        if gate.holds(context.waker()) {
            return Poll::Pending;
        }
        GATE.sync_scope(gate, || self.task.as_mut().poll(context))
    }
}
