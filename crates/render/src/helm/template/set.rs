//! Named templates that see each other, and additions that only a `tpl` call sees.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use super::node::Template;
use crate::helm::value::Text;

/// Templates by name. A set made for a `tpl` call looks up in its parent what it does not define itself.
#[derive(Default)]
pub(crate) struct Set {
    templates: HashMap<Text, Arc<Template>>,
    parent: Option<Rc<Set>>,
}

// === impl Set ===

impl Set {
    pub(crate) fn below(parent: &Rc<Set>) -> Set {
        Set { templates: HashMap::new(), parent: Some(Rc::clone(parent)) }
    }

    /// Adds a template; an empty one never replaces another one.
    pub(crate) fn add(&mut self, template: Arc<Template>) {
        if template.is_empty() && self.find(&template.name).is_some() {
            return;
        }
        self.templates.insert(Text::clone(&template.name), template);
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Template>> {
        let mut set = self;
        loop {
            if let Some(found) = set.templates.get(name) {
                return Some(found);
            }
            set = set.parent.as_deref()?;
        }
    }
}
