;; What Go's runtime asks of WASI, answered with an empty world, so that the
;; component imports nothing of WASI at all: no arguments, no environment, no
;; files, a clock that stands still, and randomness that is always the same
;; (Go seeds its maps with it; a plugin must be deterministic anyway).
;; What is written to standard error is dropped: a plugin has the log interface.
;;
;; It also takes away a trap: the collector reads the clock whenever it runs, also
;; while the host passes arguments in, and then a component may call no import.
;;
;; `wasm-tools component new --adapt` links this to the core module, whose
;; memory the pointers are of.
(module
  (import "env" "memory" (memory 0))

  (func (export "args_sizes_get") (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_sizes_get") (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))

  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $time i32) (result i32)
    (i64.store (local.get $time) (i64.const 1)) ;; the runtime refuses a clock at 0
    (i32.const 0))

  ;; A linear congruential sequence, one byte at a time.
  (func (export "random_get") (param $to i32) (param $size i32) (result i32)
    (local $state i32)
    (local.set $state (i32.const 12345))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $size)))
        (local.set $state
          (i32.add (i32.mul (local.get $state) (i32.const 1103515245)) (i32.const 12345)))
        (i32.store8 (local.get $to) (i32.shr_u (local.get $state) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (local.set $size (i32.sub (local.get $size) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; Says that everything was written.
  (func (export "fd_write") (param $fd i32) (param $parts i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $parts))))
        (local.set $parts (i32.add (local.get $parts) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; No such file: 8 is EBADF. The runtime looks for preopened folders this way.
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))

  ;; A plugin may not wait; 52 is ENOSYS.
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) unreachable))
