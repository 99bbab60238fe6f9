// process/signals.hpp - a service's signals and limits, from its first moment on. docs/hardening.md,
// "Signals", has the table.
//
// Thread-safety: before any other thread.
// Sources:       signal(7), systemd.exec(5) (LimitNOFILE=), getrlimit(2).
#pragma once

#include <cstdint>

namespace signet::process {

/// Undoes what the parent left (a blocked mask, ignored signals), and ignores the signals that would end or stop a
/// service though nobody means that: SIGHUP (files are read again by themselves), SIGUSR1 and SIGUSR2, SIGPIPE, SIGALRM
/// and its like, SIGXFSZ (a write then fails, and the record's failure stops signing), job control, and the real-time
/// signals. SIGTERM, SIGINT, SIGQUIT, SIGPWR and SIGXCPU are left to the reactor, which drains.
void PrepareSignals();

/// Raises the number of files that may be open as far as the system allows. @return the limit; 0: not known
std::uint64_t RaiseFileLimit();
/// The same for a service; warns when it is low.
void PrepareFileLimit();

}  // namespace signet::process
