//! Attached programs, and what they report.

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use super::{Map, Program, last_error};

/// A program's place in the kernel; it leaves it when this is dropped.
pub struct Link(NonNull<libbpf_sys::bpf_link>);

impl Link {
    fn of(link: NonNull<libbpf_sys::bpf_link>) -> Self {
        Link(link)
    }
}

impl Drop for Link {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { libbpf_sys::bpf_link__destroy(self.0.as_ptr()) };
    }
}

/// Most events that are kept at a time: a program that reports without end must not fill the machine's memory.
const EVENTS_MAX: usize = 100_000;

#[derive(Default)]
struct Events(Vec<Vec<u8>>);

/// A map of that kind, read from here.
pub struct RingBuffer {
    ring: NonNull<libbpf_sys::ring_buffer>,
    /// Where the callback puts events: at one place, whatever is moved.
    events: Box<Events>,
}

impl RingBuffer {
    /// Of a loaded object; the error is a negative errno.
    #[allow(unsafe_code)]
    pub fn open(map: i32) -> Result<Self, i32> {
        let mut events = Box::<Events>::default();
        let context: *mut Events = &mut *events;
        // SAFETY: the callback gets the events, which live as long as the ring.
        let ring = unsafe { libbpf_sys::ring_buffer__new(map, Some(keep), context.cast(), ptr::null()) };
        Ok(RingBuffer { ring: NonNull::new(ring).ok_or_else(last_error)?, events })
    }

    /// Waits until something comes, but not longer than this.
    #[allow(unsafe_code)]
    pub fn wait(&mut self, millis: i32) {
        // SAFETY: as below: it calls back, too.
        unsafe { libbpf_sys::ring_buffer__poll(self.ring.as_ptr(), millis) };
    }

    /// What came since the last time.
    #[allow(unsafe_code)]
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        // SAFETY: the ring is open, and borrowed mutably; the callback adds to the events meanwhile.
        unsafe { libbpf_sys::ring_buffer__consume(self.ring.as_ptr()) };
        std::mem::take(&mut self.events.0)
    }
}

impl Drop for RingBuffer {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it is open, and nobody uses it any more.
        unsafe { libbpf_sys::ring_buffer__free(self.ring.as_ptr()) };
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn keep(context: *mut c_void, data: *mut c_void, size: libbpf_sys::size_t) -> c_int {
    // SAFETY: libbpf hands through the context of `open`, and an event of that size.
    let (events, event) = unsafe {
        (&mut *context.cast::<Events>(), std::slice::from_raw_parts(data.cast::<u8>(), size as usize))
    };
    if events.0.len() < EVENTS_MAX {
        events.0.push(event.to_vec());
    }
    0
}

impl Program<'_> {
    /// Attaches it to what its section names; the error is a negative errno.
    #[allow(unsafe_code)]
    pub fn attach(self) -> Result<Link, i32> {
        // SAFETY: the program belongs to an open object, and a link that is not null is ours.
        NonNull::new(unsafe { libbpf_sys::bpf_program__attach(self.0.as_ptr()) })
            .map(Link::of)
            .ok_or_else(last_error)
    }
}

impl Map<'_> {
    /// The descriptor of a loaded object's map.
    #[allow(unsafe_code)]
    pub fn fd(self) -> i32 {
        // SAFETY: as above.
        unsafe { libbpf_sys::bpf_map__fd(self.0.as_ptr()) }
    }

    /// Writes into what the map starts with; whether it is so long.
    #[allow(unsafe_code)]
    pub fn write_initial(self, at: usize, bytes: &[u8]) -> bool {
        let mut size: libbpf_sys::size_t = 0;
        // SAFETY: the map belongs to an open object; what comes is so many bytes that nobody else looks at, or null.
        let value = unsafe {
            let first = libbpf_sys::bpf_map__initial_value(self.0.as_ptr(), &mut size).cast::<u8>();
            if first.is_null() { &mut [] } else { std::slice::from_raw_parts_mut(first, size as usize) }
        };
        let place = at.checked_add(bytes.len()).and_then(|end| value.get_mut(at..end));
        place.map(|place| place.copy_from_slice(bytes)).is_some()
    }
}
