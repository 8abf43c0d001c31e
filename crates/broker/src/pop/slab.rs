//! Many small things, each by a number. Numbers of those that are gone are given to others.

/// See the module.
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// The number of a thing.
    pub fn insert(&mut self, thing: T) -> u32 {
        if let Some(free) = self.free.pop() {
            self.places[free as usize] = Some(thing);
            return free;
        }
        self.places.push(Some(thing));
        (self.places.len() - 1) as u32
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        self.places.get(number as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.places.get_mut(number as usize)?.as_mut()
    }

    pub fn remove(&mut self, number: u32) -> Option<T> {
        let thing = self.places.get_mut(number as usize)?.take()?;
        self.free.push(number);
        if self.len() == 0 {
            // What many took is given back.
            *self = Self::default();
        }
        Some(thing)
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Numbers of those that are chosen.
    pub fn numbers(&self, is_chosen: impl Fn(&T) -> bool) -> Vec<u32> {
        let chosen = self.places.iter().zip(0..).filter(|(place, _)| place.as_ref().is_some_and(&is_chosen));
        chosen.map(|(_, number)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_what_is_gone_is_not_there() {
        let mut slab = Slab::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| slab.insert(name));
        assert_eq!((slab.remove(b), slab.remove(b), slab.get(b)), (Some("b"), None, None));
        assert_eq!((slab.insert("d"), slab.get(b), slab.len()), (b, Some(&"d"), 3));
        assert_eq!(slab.numbers(|name| *name != "a"), [b, c]);
        *slab.get_mut(c).unwrap() = "e";
        assert_eq!([a, b, c].map(|number| slab.remove(number)), [Some("a"), Some("d"), Some("e")]);
        assert!(slab.len() == 0 && slab.get(a).is_none() && slab.remove(7).is_none());
    }
}
