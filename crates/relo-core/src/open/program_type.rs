//! What a program's section name says of it: its type, and what it is attached to.

/// The type of a program, as the kernel counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names are those of the kernel's `enum bpf_prog_type`.
pub enum ProgramType {
    SocketFilter,
    Kprobe,
    SchedCls,
    SchedAct,
    Tracepoint,
    Xdp,
    PerfEvent,
    CgroupSkb,
    CgroupSock,
    LwtIn,
    LwtOut,
    LwtXmit,
    SockOps,
    SkSkb,
    CgroupDevice,
    SkMsg,
    RawTracepoint,
    CgroupSockAddr,
    LwtSeg6local,
    LircMode2,
    SkReuseport,
    FlowDissector,
    CgroupSysctl,
    RawTracepointWritable,
    CgroupSockopt,
    Tracing,
    StructOps,
    Ext,
    Lsm,
    SkLookup,
    Syscall,
    Netfilter,
}

impl ProgramType {
    /// Whether libbpf loads the kernel's own BTF for it (libbpf: `prog_needs_vmlinux_btf`).
    pub fn needs_kernel_btf(self) -> bool {
        matches!(self, ProgramType::Tracing | ProgramType::Lsm | ProgramType::StructOps)
    }

    /// Whether its context holds pointers that the verifier follows by BTF.
    pub(crate) fn has_typed_context(self) -> bool {
        self.needs_kernel_btf() || matches!(self, ProgramType::Ext | ProgramType::Netfilter)
    }
}

/// What the rest of the section's name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachKind {
    /// Nothing of the kernel: the loader says at run time where the program goes.
    None,
    /// A FUNC of the kernel's BTF, looked up when loading: fentry, fexit, fmod_ret, fsession.
    BtfFunction,
    /// TYPEDEF `btf_trace_X`, looked up when loading.
    BtfTracepoint,
    /// FUNC `bpf_lsm_X`, looked up when loading.
    Lsm,
    /// FUNC `bpf_iter_X`, looked up when loading.
    Iterator,
    /// A function of another BPF program, whose fd the loader gives.
    Program,
    /// Members of struct_ops variables name the program.
    StructOps,
    /// A kernel function, looked up when attaching.
    Kprobe,
    /// A pattern of kernel functions, looked up when attaching.
    KprobePattern,
    /// A system call, looked up when attaching.
    Syscall,
    /// `CATEGORY/NAME` of a trace event, looked up when attaching.
    TraceEvent,
    /// A tracepoint, looked up when attaching.
    RawTracepoint,
    /// Something of a user's process.
    User,
}

/// A row of the table of section names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionDef {
    /// The name; with a `+` at its end it may be followed by `/` and more.
    pub pattern: &'static str,
    /// The type that it gives a program.
    pub program_type: ProgramType,
    /// What the part behind the `/` names.
    pub attach: AttachKind,
}

impl SectionDef {
    /// The row for a section's name (libbpf: `find_sec_def`); a leading `?` is not part of it.
    pub fn find(section: &str) -> Option<&'static SectionDef> {
        TABLE.iter().find(|def| def.matches(section))
    }

    /// The part of the name that says what to attach to.
    pub fn target<'s>(&self, section: &'s str) -> Option<&'s str> {
        let prefix = self.pattern.strip_suffix('+')?;
        section.strip_prefix(prefix)?.strip_prefix('/').filter(|target| !target.is_empty())
    }

    fn matches(&self, section: &str) -> bool {
        match self.pattern.strip_suffix('+') {
            Some(prefix) => {
                section.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            None => section == self.pattern,
        }
    }
}

const fn def(pattern: &'static str, program_type: ProgramType, attach: AttachKind) -> SectionDef {
    SectionDef { pattern, program_type, attach }
}

const fn plain(pattern: &'static str, program_type: ProgramType) -> SectionDef {
    def(pattern, program_type, AttachKind::None)
}

use AttachKind as A;
use ProgramType as P;

/// Section names in the order in which libbpf tries them.
#[rustfmt::skip]
static TABLE: &[SectionDef] = &[
    plain("socket", P::SocketFilter),
    plain("sk_reuseport/migrate", P::SkReuseport),
    plain("sk_reuseport", P::SkReuseport),
    def("kprobe+", P::Kprobe, A::Kprobe),
    def("uprobe+", P::Kprobe, A::User),
    def("uprobe.s+", P::Kprobe, A::User),
    def("kretprobe+", P::Kprobe, A::Kprobe),
    def("uretprobe+", P::Kprobe, A::User),
    def("uretprobe.s+", P::Kprobe, A::User),
    def("kprobe.multi+", P::Kprobe, A::KprobePattern),
    def("kretprobe.multi+", P::Kprobe, A::KprobePattern),
    def("kprobe.session+", P::Kprobe, A::KprobePattern),
    def("uprobe.multi+", P::Kprobe, A::User),
    def("uretprobe.multi+", P::Kprobe, A::User),
    def("uprobe.session+", P::Kprobe, A::User),
    def("uprobe.multi.s+", P::Kprobe, A::User),
    def("uretprobe.multi.s+", P::Kprobe, A::User),
    def("uprobe.session.s+", P::Kprobe, A::User),
    def("ksyscall+", P::Kprobe, A::Syscall),
    def("kretsyscall+", P::Kprobe, A::Syscall),
    def("usdt+", P::Kprobe, A::User),
    def("usdt.s+", P::Kprobe, A::User),
    plain("tc/ingress", P::SchedCls),
    plain("tc/egress", P::SchedCls),
    plain("tcx/ingress", P::SchedCls),
    plain("tcx/egress", P::SchedCls),
    plain("tc", P::SchedCls),
    plain("classifier", P::SchedCls),
    plain("action", P::SchedAct),
    plain("netkit/primary", P::SchedCls),
    plain("netkit/peer", P::SchedCls),
    def("tracepoint+", P::Tracepoint, A::TraceEvent),
    def("tp+", P::Tracepoint, A::TraceEvent),
    def("tracepoint.s+", P::Tracepoint, A::TraceEvent),
    def("tp.s+", P::Tracepoint, A::TraceEvent),
    def("raw_tracepoint+", P::RawTracepoint, A::RawTracepoint),
    def("raw_tp+", P::RawTracepoint, A::RawTracepoint),
    def("raw_tracepoint.s+", P::RawTracepoint, A::RawTracepoint),
    def("raw_tp.s+", P::RawTracepoint, A::RawTracepoint),
    def("raw_tracepoint.w+", P::RawTracepointWritable, A::RawTracepoint),
    def("raw_tp.w+", P::RawTracepointWritable, A::RawTracepoint),
    def("tp_btf+", P::Tracing, A::BtfTracepoint),
    def("tp_btf.s+", P::Tracing, A::BtfTracepoint),
    def("fentry+", P::Tracing, A::BtfFunction),
    def("fmod_ret+", P::Tracing, A::BtfFunction),
    def("fexit+", P::Tracing, A::BtfFunction),
    def("fentry.s+", P::Tracing, A::BtfFunction),
    def("fmod_ret.s+", P::Tracing, A::BtfFunction),
    def("fexit.s+", P::Tracing, A::BtfFunction),
    def("fsession+", P::Tracing, A::BtfFunction),
    def("fsession.s+", P::Tracing, A::BtfFunction),
    def("fsession.multi+", P::Tracing, A::KprobePattern),
    def("fsession.multi.s+", P::Tracing, A::KprobePattern),
    def("fentry.multi+", P::Tracing, A::KprobePattern),
    def("fexit.multi+", P::Tracing, A::KprobePattern),
    def("fentry.multi.s+", P::Tracing, A::KprobePattern),
    def("fexit.multi.s+", P::Tracing, A::KprobePattern),
    def("freplace+", P::Ext, A::Program),
    def("lsm+", P::Lsm, A::Lsm),
    def("lsm.s+", P::Lsm, A::Lsm),
    def("lsm_cgroup+", P::Lsm, A::Lsm),
    def("iter+", P::Tracing, A::Iterator),
    def("iter.s+", P::Tracing, A::Iterator),
    plain("syscall", P::Syscall),
    plain("xdp.frags/devmap", P::Xdp),
    plain("xdp/devmap", P::Xdp),
    plain("xdp.frags/cpumap", P::Xdp),
    plain("xdp/cpumap", P::Xdp),
    plain("xdp.frags", P::Xdp),
    plain("xdp", P::Xdp),
    plain("perf_event", P::PerfEvent),
    plain("lwt_in", P::LwtIn),
    plain("lwt_out", P::LwtOut),
    plain("lwt_xmit", P::LwtXmit),
    plain("lwt_seg6local", P::LwtSeg6local),
    plain("sockops", P::SockOps),
    plain("sk_skb/stream_parser", P::SkSkb),
    plain("sk_skb/stream_verdict", P::SkSkb),
    plain("sk_skb/verdict", P::SkSkb),
    plain("sk_skb", P::SkSkb),
    plain("sk_msg", P::SkMsg),
    plain("lirc_mode2", P::LircMode2),
    plain("flow_dissector", P::FlowDissector),
    plain("cgroup_skb/ingress", P::CgroupSkb),
    plain("cgroup_skb/egress", P::CgroupSkb),
    plain("cgroup/skb", P::CgroupSkb),
    plain("cgroup/sock_create", P::CgroupSock),
    plain("cgroup/sock_release", P::CgroupSock),
    plain("cgroup/sock", P::CgroupSock),
    plain("cgroup/post_bind4", P::CgroupSock),
    plain("cgroup/post_bind6", P::CgroupSock),
    plain("cgroup/bind4", P::CgroupSockAddr),
    plain("cgroup/bind6", P::CgroupSockAddr),
    plain("cgroup/connect4", P::CgroupSockAddr),
    plain("cgroup/connect6", P::CgroupSockAddr),
    plain("cgroup/connect_unix", P::CgroupSockAddr),
    plain("cgroup/sendmsg4", P::CgroupSockAddr),
    plain("cgroup/sendmsg6", P::CgroupSockAddr),
    plain("cgroup/sendmsg_unix", P::CgroupSockAddr),
    plain("cgroup/recvmsg4", P::CgroupSockAddr),
    plain("cgroup/recvmsg6", P::CgroupSockAddr),
    plain("cgroup/recvmsg_unix", P::CgroupSockAddr),
    plain("cgroup/getpeername4", P::CgroupSockAddr),
    plain("cgroup/getpeername6", P::CgroupSockAddr),
    plain("cgroup/getpeername_unix", P::CgroupSockAddr),
    plain("cgroup/getsockname4", P::CgroupSockAddr),
    plain("cgroup/getsockname6", P::CgroupSockAddr),
    plain("cgroup/getsockname_unix", P::CgroupSockAddr),
    plain("cgroup/sysctl", P::CgroupSysctl),
    plain("cgroup/getsockopt", P::CgroupSockopt),
    plain("cgroup/setsockopt", P::CgroupSockopt),
    plain("cgroup/dev", P::CgroupDevice),
    def("struct_ops+", P::StructOps, A::StructOps),
    def("struct_ops.s+", P::StructOps, A::StructOps),
    plain("sk_lookup", P::SkLookup),
    plain("netfilter", P::Netfilter),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_names() {
        let check = |section: &str, want: Option<(ProgramType, AttachKind, Option<&str>)>| {
            let got =
                SectionDef::find(section).map(|def| (def.program_type, def.attach, def.target(section)));
            assert_eq!(got, want, "{section}");
        };
        check("kprobe/do_exit", Some((P::Kprobe, A::Kprobe, Some("do_exit"))));
        check("kprobe", Some((P::Kprobe, A::Kprobe, None)));
        check("kprobe/", Some((P::Kprobe, A::Kprobe, None)));
        check("kprobes", None);
        check("kprobe.multi/vfs_*", Some((P::Kprobe, A::KprobePattern, Some("vfs_*"))));
        check("fentry.s/x", Some((P::Tracing, A::BtfFunction, Some("x"))));
        check("lsm_cgroup/bind", Some((P::Lsm, A::Lsm, Some("bind"))));
        check("tp/a/b", Some((P::Tracepoint, A::TraceEvent, Some("a/b"))));
        check("xdp", Some((P::Xdp, A::None, None)));
        check("xdp/", None);
        check("xdp/devmap", Some((P::Xdp, A::None, None)));
        check("tc/other", None);
        check("", None);
    }
}
