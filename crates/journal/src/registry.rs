//! What is called by name: undos, probes and actions. Names survive a restart, closures do not.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::args::Args;
use crate::error::Failure;
use crate::machine::Finding;

/// What a registered function is told about the step or action it is called for.
#[derive(Debug, Clone)]
pub struct Call {
    pub(crate) work: String,
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) args: Args,
    pub(crate) note: Args,
    pub(crate) certain: bool,
    pub(crate) attempt: u32,
}

impl Call {
    /// The id of the work.
    pub fn work(&self) -> &str {
        &self.work
    }

    /// The name of the step or action.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its arguments.
    pub fn args(&self) -> &Args {
        &self.args
    }

    /// What the act told about itself with [`Act::note`](crate::Act::note); empty if nothing.
    pub fn note(&self) -> &Args {
        &self.note
    }

    /// Whether the act is known to have happened. An undo that is called while it is not must be
    /// content with finding nothing to undo.
    pub fn certain(&self) -> bool {
        self.certain
    }

    /// How often this failed before.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The same for every attempt of the act, whichever process makes it: the idempotency key to
    /// send along.
    pub fn key(&self) -> String {
        key(&self.work, self.index)
    }
}

/// The idempotency key of a step's act.
pub(crate) fn key(work: &str, index: usize) -> String {
    format!("{work}.{index}")
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;
pub(crate) type Function<T> = Arc<dyn Fn(Call) -> Answer<T> + Send + Sync>;

/// What is registered.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) undos: HashMap<String, Function<()>>,
    pub(crate) probes: HashMap<String, Function<Finding>>,
    pub(crate) actions: HashMap<String, Function<()>>,
}

impl Registry {
    pub(crate) fn has_probe(&self, name: &str) -> bool {
        self.probes.contains_key(name)
    }
}

/// Puts a function behind one type.
pub(crate) fn boxed<T, F, R>(function: F) -> Function<T>
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, Failure>> + Send + 'static,
{
    Arc::new(move |call| Box::pin(function(call)))
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("undos", &self.undos.keys())
            .field("probes", &self.probes.keys())
            .field("actions", &self.actions.keys())
            .finish()
    }
}
