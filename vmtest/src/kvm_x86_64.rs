//! The smallest virtual machine that runs 64-bit code: raw ioctls of linux/kvm.h.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;

const KVM_GET_API_VERSION: u64 = 0xae00;
const KVM_CREATE_VM: u64 = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: u64 = 0xae04;
const KVM_CREATE_VCPU: u64 = 0xae41;
const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
const KVM_RUN: u64 = 0xae80;
const KVM_SET_REGS: u64 = 0x4090_ae82;
const KVM_GET_SREGS: u64 = 0x8138_ae83;
const KVM_SET_SREGS: u64 = 0x4138_ae84;

const API_VERSION: i32 = 12;
const EXIT_IO: u32 = 2;
/// Offset of `exit_reason` in `struct kvm_run`.
const EXIT_REASON: usize = 8;

const MEMORY: usize = 2 << 20;
const CODE: usize = 0x1000;
const TABLES: usize = 0x2000;
const DATA: u64 = 0x8000;
const STACK: u64 = 0x9000;

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
}

/// `struct kvm_regs`.
#[repr(C)]
#[derive(Default)]
struct Regs {
    /// rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15.
    general: [u64; 16],
    rip: u64,
    rflags: u64,
}

/// `struct kvm_segment`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    kind: u8,
    present: u8,
    dpl: u8,
    db: u8,
    s: u8,
    l: u8,
    g: u8,
    avl: u8,
    unusable: u8,
    padding: u8,
}

/// `struct kvm_sregs`.
#[repr(C)]
#[derive(Default)]
struct Sregs {
    cs: Segment,
    /// ds, es, fs, gs, ss.
    data: [Segment; 5],
    tr: Segment,
    ldt: Segment,
    gdt: [u64; 2],
    idt: [u64; 2],
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupt_bitmap: [u64; 4],
}

// The ioctl numbers hold these sizes.
const _: () =
    assert!(size_of::<Regs>() == 0x90 && size_of::<Sregs>() == 0x138 && size_of::<MemoryRegion>() == 0x20);

/// A machine with one processor and two megabytes, one page mapped to itself.
pub struct Vm {
    vcpu: File,
    run: Mapping,
    // Owned for as long as the processor may run.
    _vm: File,
    _memory: Mapping,
}

impl Vm {
    /// A machine whose program writes to a port after every `slice` iterations of its loop.
    pub fn create(device: File, slice: u32) -> io::Result<Self> {
        let version = ioctl(&device, KVM_GET_API_VERSION, 0)?;
        if version != API_VERSION {
            return Err(io::Error::other(format!("its API has version {version}, not {API_VERSION}")));
        }
        let vm = file(ioctl(&device, KVM_CREATE_VM, 0)?);
        let mut memory = Mapping::anonymous(MEMORY)?;
        write_program(memory.bytes_mut(), slice);
        let region = MemoryRegion {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: MEMORY as u64,
            userspace_addr: memory.at as u64,
        };
        ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &raw const region as u64)?;
        let vcpu = file(ioctl(&vm, KVM_CREATE_VCPU, 0)?);
        let run_size = ioctl(&device, KVM_GET_VCPU_MMAP_SIZE, 0)? as usize;
        let run = Mapping::shared(&vcpu, run_size)?;
        if run.size < EXIT_REASON + 4 {
            return Err(io::Error::other("its run structure is too small"));
        }
        set_registers(&vcpu)?;
        Ok(Vm { vcpu, run, _vm: vm, _memory: memory })
    }

    /// Runs to the next write to a port.
    pub fn run_slice(&mut self) -> io::Result<()> {
        loop {
            match ioctl(&self.vcpu, KVM_RUN, 0) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // SAFETY: the mapping is at least this long, aligned, and KVM writes to it only during the ioctl above.
        let reason = unsafe { ptr::read_volatile(self.run.at.add(EXIT_REASON).cast::<u32>()) };
        if reason == EXIT_IO {
            Ok(())
        } else {
            Err(io::Error::other(format!("the guest stopped for reason {reason}")))
        }
    }
}

fn write_program(memory: &mut [u8], slice: u32) {
    let mut code = vec![0xb9]; // start: mov ecx, slice
    code.extend(slice.to_le_bytes());
    code.extend([0x48, 0x89, 0x0f]); // loop: mov [rdi], rcx
    code.extend([0x48, 0xff, 0xc9]); // dec rcx
    code.extend([0x75, 0xf8]); // jnz loop
    code.extend([0xe6, 0x10]); // out 0x10, al
    code.extend([0xeb, 0xef]); // jmp start
    memory[CODE..CODE + code.len()].copy_from_slice(&code);
    // Page tables: one entry on each of three levels, the last a page of 2 MB (present, writable, user, large).
    for (at, entry) in [(TABLES, 0x3007_u64), (TABLES + 0x1000, 0x4007), (TABLES + 0x2000, 0x87)] {
        memory[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    }
}

fn set_registers(vcpu: &File) -> io::Result<()> {
    let mut sregs = Sregs::default();
    ioctl(vcpu, KVM_GET_SREGS, &raw mut sregs as u64)?;
    let flat = Segment { limit: u32::MAX, present: 1, s: 1, g: 1, ..Segment::default() };
    sregs.cs = Segment { selector: 8, kind: 11, l: 1, ..flat };
    sregs.data = [Segment { selector: 16, kind: 3, db: 1, ..flat }; 5];
    sregs.cr3 = TABLES as u64;
    sregs.cr4 = 0x20; // PAE
    sregs.cr0 = 0x8005_0033; // paging, protection
    sregs.efer = 0x500; // long mode
    ioctl(vcpu, KVM_SET_SREGS, &raw const sregs as u64)?;
    let mut regs = Regs { rip: CODE as u64, rflags: 2, ..Regs::default() };
    regs.general[5] = DATA;
    regs.general[6] = STACK;
    ioctl(vcpu, KVM_SET_REGS, &raw const regs as u64)?;
    Ok(())
}

fn file(fd: i32) -> File {
    // SAFETY: KVM has just made this descriptor, for us alone.
    unsafe { File::from_raw_fd(fd) }
}

/// `argument` is a number or the address of a structure of the size that the request holds.
fn ioctl(file: &File, request: u64, argument: u64) -> io::Result<i32> {
    // SAFETY: each caller passes what the request wants; structures outlive the call.
    match unsafe { libc::ioctl(file.as_raw_fd(), request as libc::Ioctl, argument) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// A piece of memory from mmap.
struct Mapping {
    at: *mut u8,
    size: usize,
}

impl Mapping {
    fn anonymous(size: usize) -> io::Result<Self> {
        Self::map(size, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    fn shared(file: &File, size: usize) -> io::Result<Self> {
        Self::map(size, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn map(size: usize, flags: i32, fd: RawFd) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at =
            unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Mapping { at: at.cast(), size })
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: readable and writable memory of this size; nobody else has it before the machine runs.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.size) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, not used after this.
        unsafe { libc::munmap(self.at.cast(), self.size) };
    }
}
