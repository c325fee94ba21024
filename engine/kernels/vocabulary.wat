;; What is done to every value of a row of logits, four at a time. engine/kernels/vocabulary.ts is made from this: node engine/kernels/generate-main.ts
;;
;; Addresses are bytes; [$at, $end) is a whole number of 32-value groups of f32. A value's depth is how far it lies below $highest, times
;; $scale; its bucket is the nearest whole number. There are $buckets; what is deeper, or -Infinity, falls into one more behind.
(module
  (memory (import "host" "memory") 1)

  ;; The least and the greatest; both NaN where a value is not finite.
  (func (export "range") (param $at i32) (param $end i32) (result f32 f32)
    (local $v v128) (local $low v128) (local $high v128) (local $odd v128) (local $off f32)
    (local.set $low (f32x4.splat (f32.const inf)))
    (local.set $high (f32x4.splat (f32.const -inf)))
    (loop $next
      (local.set $v (v128.load (local.get $at)))
      (local.set $low (f32x4.pmin (local.get $low) (local.get $v)))
      (local.set $high (f32x4.pmax (local.get $high) (local.get $v)))
      ;; 0, or NaN for NaN and infinities, which stays.
      (local.set $odd (f32x4.add (local.get $odd) (f32x4.sub (local.get $v) (local.get $v))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (local.set $off
      (f32.add
        (f32.add (f32x4.extract_lane 0 (local.get $odd)) (f32x4.extract_lane 1 (local.get $odd)))
        (f32.add (f32x4.extract_lane 2 (local.get $odd)) (f32x4.extract_lane 3 (local.get $odd)))))
    (f32.add (local.get $off)
      (f32.min
        (f32.min (f32x4.extract_lane 0 (local.get $low)) (f32x4.extract_lane 1 (local.get $low)))
        (f32.min (f32x4.extract_lane 2 (local.get $low)) (f32x4.extract_lane 3 (local.get $low)))))
    (f32.add (local.get $off)
      (f32.max
        (f32.max (f32x4.extract_lane 0 (local.get $high)) (f32x4.extract_lane 1 (local.get $high)))
        (f32.max (f32x4.extract_lane 2 (local.get $high)) (f32x4.extract_lane 3 (local.get $high))))))

  ;; The greatest of values without NaN.
  (func (export "highest") (param $at i32) (param $end i32) (result f32)
    (local $high v128)
    (local.set $high (f32x4.splat (f32.const -inf)))
    (loop $next
      (local.set $high (f32x4.pmax (local.get $high) (v128.load (local.get $at))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (f32.max
      (f32.max (f32x4.extract_lane 0 (local.get $high)) (f32x4.extract_lane 1 (local.get $high)))
      (f32.max (f32x4.extract_lane 2 (local.get $high)) (f32x4.extract_lane 3 (local.get $high)))))

  ;; The address of the first value that equals $value; $end where none does.
  (func (export "find") (param $at i32) (param $end i32) (param $value f32) (result i32)
    (local $hits i32) (local $wanted v128)
    (local.set $wanted (f32x4.splat (local.get $value)))
    (loop $next
      (if (local.tee $hits (i32x4.bitmask (f32x4.eq (v128.load (local.get $at)) (local.get $wanted))))
        (then (return (i32.add (local.get $at) (i32.shl (i32.ctz (local.get $hits)) (i32.const 2))))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (local.get $end))

  ;; -Infinity where the bit is 0: a word of bits for every 32 values, from $bits on.
  (func (export "mask") (param $at i32) (param $end i32) (param $bits i32)
    (local $word i32) (local $group i32) (local $lanes v128)
    (loop $next
      (local.set $word (i32.load (local.get $bits)))
      (local.set $bits (i32.add (local.get $bits) (i32.const 4)))
      (local.set $group (i32.add (local.get $at) (i32.const 128)))
      (if (i32.ne (local.get $word) (i32.const -1))
        (then
          (local.set $lanes (v128.const i32x4 1 2 4 8))
          (loop $four
            (v128.store (local.get $at)
              (v128.bitselect
                (f32x4.splat (f32.const -inf))
                (v128.load (local.get $at))
                (i32x4.eq (v128.and (i32x4.splat (local.get $word)) (local.get $lanes)) (v128.const i32x4 0 0 0 0))))
            (local.set $lanes (i32x4.shl (local.get $lanes) (i32.const 4)))
            (br_if $four
              (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $group))))))
      (br_if $next (i32.lt_u (local.tee $at (local.get $group)) (local.get $end)))))

  ;; Depths of four values, at most $buckets.
  (func $depths (param $at i32) (param $highest v128) (param $scale v128) (param $buckets v128) (result v128)
    (f32x4.pmin
      (local.get $buckets)
      (f32x4.mul (f32x4.sub (local.get $highest) (v128.load (local.get $at))) (local.get $scale))))

  ;; The nearest whole numbers of four depths. f32 has no room for a fraction beyond 2^23, so the sum's last bits are the number.
  (func $nearest (param $depths v128) (result v128)
    (i32x4.sub
      (f32x4.add (local.get $depths) (f32x4.splat (f32.const 8388608)))
      (f32x4.splat (f32.const 8388608))))

  ;; exp(-depth * $nats) of four depths: 2^n times a Taylor polynomial of 2^f, f in [-0.5, 0.5], to a relative error of 2e-7.
  (func $weights (param $depths v128) (param $doublings v128) (result v128)
    (local $n v128) (local $x v128) (local $y v128)
    (local.set $x (f32x4.mul (local.get $depths) (local.get $doublings)))
    ;; As in $nearest, with room for numbers below 0: n in the last bits.
    (local.set $n (f32x4.add (local.get $x) (f32x4.splat (f32.const 12582912))))
    (local.set $x
      (f32x4.mul
        (f32x4.sub (local.get $x) (f32x4.sub (local.get $n) (f32x4.splat (f32.const 12582912))))
        (f32x4.splat (f32.const 0.69314718))))
    (local.set $y (f32x4.splat (f32.const 0.0013888889)))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 0.008333334))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 0.041666668))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 0.16666667))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 0.5))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 1))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 1))))
    ;; Adding n to the exponent.
    (i32x4.add (local.get $y) (i32x4.shl (local.get $n) (i32.const 23))))

  ;; Adds each value to its bucket: 1 to the i32 at $counts + 4 bucket, exp(-depth * $nats) to the f64 at $masses + 8 bucket.
  (func (export "rank")
    (param $at i32) (param $end i32) (param $highest f32) (param $scale f32) (param $buckets i32) (param $nats f32)
    (param $counts i32) (param $masses i32)
    (local $top v128) (local $scales v128) (local $last v128) (local $doublings v128)
    (local $depth v128) (local $weight v128) (local $bucket i32) (local $place i32)
    (local.set $top (f32x4.splat (local.get $highest)))
    (local.set $scales (f32x4.splat (local.get $scale)))
    (local.set $last (f32x4.splat (f32.convert_i32_u (local.get $buckets))))
    (local.set $doublings (f32x4.splat (f32.mul (local.get $nats) (f32.const -1.4426950))))
    (loop $next
      (local.set $depth (call $depths (local.get $at) (local.get $top) (local.get $scales) (local.get $last)))
      (local.set $weight (call $weights (local.get $depth) (local.get $doublings)))
      (local.set $depth (call $nearest (local.get $depth)))
      (local.set $bucket (i32x4.extract_lane 0 (local.get $depth)))
      (local.set $place (i32.add (local.get $counts) (i32.shl (local.get $bucket) (i32.const 2))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $masses) (i32.shl (local.get $bucket) (i32.const 3))))
      (f64.store (local.get $place)
        (f64.add (f64.load (local.get $place)) (f64.promote_f32 (f32x4.extract_lane 0 (local.get $weight)))))
      (local.set $bucket (i32x4.extract_lane 1 (local.get $depth)))
      (local.set $place (i32.add (local.get $counts) (i32.shl (local.get $bucket) (i32.const 2))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $masses) (i32.shl (local.get $bucket) (i32.const 3))))
      (f64.store (local.get $place)
        (f64.add (f64.load (local.get $place)) (f64.promote_f32 (f32x4.extract_lane 1 (local.get $weight)))))
      (local.set $bucket (i32x4.extract_lane 2 (local.get $depth)))
      (local.set $place (i32.add (local.get $counts) (i32.shl (local.get $bucket) (i32.const 2))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $masses) (i32.shl (local.get $bucket) (i32.const 3))))
      (f64.store (local.get $place)
        (f64.add (f64.load (local.get $place)) (f64.promote_f32 (f32x4.extract_lane 2 (local.get $weight)))))
      (local.set $bucket (i32x4.extract_lane 3 (local.get $depth)))
      (local.set $place (i32.add (local.get $counts) (i32.shl (local.get $bucket) (i32.const 2))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $masses) (i32.shl (local.get $bucket) (i32.const 3))))
      (f64.store (local.get $place)
        (f64.add (f64.load (local.get $place)) (f64.promote_f32 (f32x4.extract_lane 3 (local.get $weight)))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end)))))

  ;; Writes the indexes of a bucket's values from $out on, i32 each, and returns where they end.
  (func (export "collect")
    (param $at i32) (param $end i32) (param $highest f32) (param $scale f32) (param $buckets i32) (param $bucket i32)
    (param $out i32) (result i32)
    (local $start i32) (local $hits i32) (local $top v128) (local $scales v128) (local $last v128) (local $wanted v128)
    (local.set $start (local.get $at))
    (local.set $top (f32x4.splat (local.get $highest)))
    (local.set $scales (f32x4.splat (local.get $scale)))
    (local.set $last (f32x4.splat (f32.convert_i32_u (local.get $buckets))))
    (local.set $wanted (i32x4.splat (local.get $bucket)))
    (loop $next
      (local.set $hits
        (i32x4.bitmask
          (i32x4.eq
            (call $nearest (call $depths (local.get $at) (local.get $top) (local.get $scales) (local.get $last)))
            (local.get $wanted))))
      (if (local.get $hits)
        (then
          (loop $hit
            (i32.store (local.get $out)
              (i32.add
                (i32.shr_u (i32.sub (local.get $at) (local.get $start)) (i32.const 2))
                (i32.ctz (local.get $hits))))
            (local.set $out (i32.add (local.get $out) (i32.const 4)))
            (br_if $hit
              (local.tee $hits (i32.and (local.get $hits) (i32.sub (local.get $hits) (i32.const 1))))))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (local.get $out)))
