;; What a decoder does beside the products of int4.wat and int8.wat, in f32. engine/kernels/layers.ts is made from this: node engine/kernels/generate-main.ts
;;
;; Addresses and widths are bytes; widths are multiples of 16. Each call computes one row, or one head of one row; $f32 many.
(module
  (memory (import "host" "memory") 1 65536)

  (func $along (param $v v128) (result f32)
    (f32.add
      (f32.add (f32x4.extract_lane 0 (local.get $v)) (f32x4.extract_lane 2 (local.get $v)))
      (f32.add (f32x4.extract_lane 1 (local.get $v)) (f32x4.extract_lane 3 (local.get $v)))))

  ;; exp(x), as 2^n times a Taylor polynomial of e^f, |f| <= ln(2) / 2, to a relative error of 3e-7. Beyond 87 as at 87; NaN stays.
  (func $exp (param $x v128) (result v128)
    (local $n v128) (local $y v128)
    (local.set $x
      (f32x4.max (f32x4.splat (f32.const -87)) (f32x4.min (f32x4.splat (f32.const 87)) (local.get $x))))
    ;; f32 has no room for a fraction beyond 2^23: the sum's last bits are the nearest whole number.
    (local.set $n
      (f32x4.add (f32x4.mul (local.get $x) (f32x4.splat (f32.const 1.4426950)))
        (f32x4.splat (f32.const 12582912))))
    (local.set $y (f32x4.sub (local.get $n) (f32x4.splat (f32.const 12582912))))
    ;; n ln(2) in two parts, the first of which loses nothing when multiplied.
    (local.set $x
      (f32x4.sub
        (f32x4.sub (local.get $x) (f32x4.mul (local.get $y) (f32x4.splat (f32.const 0.693359375))))
        (f32x4.mul (local.get $y) (f32x4.splat (f32.const -0.00021219444)))))
    (local.set $y (f32x4.splat (f32.const 0.0013888889)))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 0.008333334))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 0.041666668))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 0.16666667))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 0.5))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 1))))
    (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $x)) (f32x4.splat (f32.const 1))))
    ;; Adding n to the exponent.
    (i32x4.add (local.get $y) (i32x4.shl (local.get $n) (i32.const 23))))

  ;; y += x
  (func (export "add") (param $y i32) (param $x i32) (param $width i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $x) (local.get $width)))
    (loop $next
      (v128.store (local.get $y) (f32x4.add (v128.load (local.get $y)) (v128.load (local.get $x))))
      (local.set $y (i32.add (local.get $y) (i32.const 16)))
      (br_if $next (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 16))) (local.get $end)))))

  ;; Root-mean-square norm of $x, times $weight, to $y, which may be $x.
  (func (export "norm") (param $x i32) (param $weight i32) (param $width i32) (param $epsilon f32) (param $y i32)
    (local $end i32) (local $i i32) (local $v v128) (local $sum v128)
    (local.set $end (i32.add (local.get $x) (local.get $width)))
    (local.set $i (local.get $x))
    (loop $next
      (local.set $v (v128.load (local.get $i)))
      (local.set $sum (f32x4.add (local.get $sum) (f32x4.mul (local.get $v) (local.get $v))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (local.get $end))))
    (local.set $v
      (f32x4.splat
        (f32.div (f32.const 1)
          (f32.sqrt
            (f32.add (local.get $epsilon)
              (f32.div (call $along (local.get $sum))
                (f32.convert_i32_u (i32.shr_u (local.get $width) (i32.const 2)))))))))
    (loop $next
      (v128.store (local.get $y)
        (f32x4.mul (f32x4.mul (v128.load (local.get $x)) (local.get $v)) (v128.load (local.get $weight))))
      (local.set $y (i32.add (local.get $y) (i32.const 16)))
      (local.set $weight (i32.add (local.get $weight) (i32.const 16)))
      (br_if $next (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 16))) (local.get $end)))))

  ;; Turns one head in place: pairs lie $half bytes apart, the head's half.
  (func (export "rotate") (param $x i32) (param $half i32) (param $cos i32) (param $sin i32)
    (local $end i32) (local $other i32) (local $a v128) (local $b v128) (local $c v128) (local $s v128)
    (local.set $end (i32.add (local.get $x) (local.get $half)))
    (local.set $other (local.get $end))
    (loop $next
      (local.set $a (v128.load (local.get $x)))
      (local.set $b (v128.load (local.get $other)))
      (local.set $c (v128.load (local.get $cos)))
      (local.set $s (v128.load (local.get $sin)))
      (v128.store (local.get $x)
        (f32x4.sub (f32x4.mul (local.get $a) (local.get $c)) (f32x4.mul (local.get $b) (local.get $s))))
      (v128.store (local.get $other)
        (f32x4.add (f32x4.mul (local.get $a) (local.get $s)) (f32x4.mul (local.get $b) (local.get $c))))
      (local.set $other (i32.add (local.get $other) (i32.const 16)))
      (local.set $cos (i32.add (local.get $cos) (i32.const 16)))
      (local.set $sin (i32.add (local.get $sin) (i32.const 16)))
      (br_if $next (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 16))) (local.get $end)))))

  ;; gate = gate / (1 + exp(-gate)) * up
  (func (export "silu") (param $gate i32) (param $up i32) (param $width i32)
    (local $end i32) (local $v v128)
    (local.set $end (i32.add (local.get $gate) (local.get $width)))
    (loop $next
      (local.set $v (v128.load (local.get $gate)))
      (v128.store (local.get $gate)
        (f32x4.mul
          (f32x4.div (local.get $v)
            (f32x4.add (f32x4.splat (f32.const 1)) (call $exp (f32x4.neg (local.get $v)))))
          (v128.load (local.get $up))))
      (local.set $up (i32.add (local.get $up) (i32.const 16)))
      (br_if $next (i32.lt_u (local.tee $gate (i32.add (local.get $gate) (i32.const 16))) (local.get $end)))))

  ;; The same with GELU's tanh approximation: (1 + tanh(u)) / 2 is 1 / (1 + exp(-2u)), where 2u = sqrt(8 / pi) (x + 0.044715 x^3).
  (func (export "gelu") (param $gate i32) (param $up i32) (param $width i32)
    (local $end i32) (local $v v128)
    (local.set $end (i32.add (local.get $gate) (local.get $width)))
    (loop $next
      (local.set $v (v128.load (local.get $gate)))
      (v128.store (local.get $gate)
        (f32x4.mul
          (f32x4.div (local.get $v)
            (f32x4.add (f32x4.splat (f32.const 1))
              (call $exp
                (f32x4.mul
                  (f32x4.mul (local.get $v) (f32x4.splat (f32.const -1.5957691)))
                  (f32x4.add (f32x4.splat (f32.const 1))
                    (f32x4.mul (f32x4.mul (local.get $v) (local.get $v)) (f32x4.splat (f32.const 0.044715))))))))
          (v128.load (local.get $up))))
      (local.set $up (i32.add (local.get $up) (i32.const 16)))
      (br_if $next (i32.lt_u (local.tee $gate (i32.add (local.get $gate) (i32.const 16))) (local.get $end)))))

  ;; Softmax attention of one head, $width bytes, over $count positions that lie one after the other from $k and $v on. $scores has room for
  ;; $count values and three more. Up to three positions behind the last are read of $k, and don't count.
  (func (export "attend")
    (param $q i32) (param $k i32) (param $v i32) (param $count i32) (param $width i32) (param $scale f32)
    (param $scores i32) (param $y i32)
    (local $end i32) (local $behind i32) (local $at i32) (local $i i32) (local $p i32)
    (local $k1 i32) (local $k2 i32) (local $k3 i32) (local $x v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128) (local $most v128) (local $sum v128)
    (local.set $end (i32.add (local.get $scores) (i32.shl (local.get $count) (i32.const 2))))
    (local.set $behind (i32.add (local.get $scores) (i32.and (i32.add (i32.shl (local.get $count) (i32.const 2)) (i32.const 15)) (i32.const -16))))
    ;; Four scores at a time.
    (local.set $at (local.get $scores))
    (loop $four
      (local.set $k1 (i32.add (local.get $k) (local.get $width)))
      (local.set $k2 (i32.add (local.get $k1) (local.get $width)))
      (local.set $k3 (i32.add (local.get $k2) (local.get $width)))
      (local.set $p (local.get $q))
      (local.set $i (local.get $k1))
      (local.set $a (v128.const i32x4 0 0 0 0))
      (local.set $b (v128.const i32x4 0 0 0 0))
      (local.set $c (v128.const i32x4 0 0 0 0))
      (local.set $d (v128.const i32x4 0 0 0 0))
      (loop $next
        (local.set $x (v128.load (local.get $p)))
        (local.set $a (f32x4.add (local.get $a) (f32x4.mul (local.get $x) (v128.load (local.get $k)))))
        (local.set $b (f32x4.add (local.get $b) (f32x4.mul (local.get $x) (v128.load (local.get $k1)))))
        (local.set $c (f32x4.add (local.get $c) (f32x4.mul (local.get $x) (v128.load (local.get $k2)))))
        (local.set $d (f32x4.add (local.get $d) (f32x4.mul (local.get $x) (v128.load (local.get $k3)))))
        (local.set $p (i32.add (local.get $p) (i32.const 16)))
        (local.set $k1 (i32.add (local.get $k1) (i32.const 16)))
        (local.set $k2 (i32.add (local.get $k2) (i32.const 16)))
        (local.set $k3 (i32.add (local.get $k3) (i32.const 16)))
        (br_if $next (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 16))) (local.get $i))))
      (local.set $k (local.get $k3))
      (local.set $x
        (f32x4.add
          (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a) (local.get $b))
          (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a) (local.get $b))))
      (local.set $a
        (f32x4.add
          (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $c) (local.get $d))
          (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $c) (local.get $d))))
      (v128.store (local.get $at)
        (f32x4.mul (f32x4.splat (local.get $scale))
          (f32x4.add
            (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $x) (local.get $a))
            (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $x) (local.get $a)))))
      (br_if $four (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $behind))))
    ;; What lies behind the last position weighs nothing.
    (local.set $at (local.get $end))
    (if (i32.lt_u (local.get $at) (local.get $behind))
      (then
        (loop $next
          (f32.store (local.get $at) (f32.const -inf))
          (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (local.get $behind))))))
    (local.set $most (f32x4.splat (f32.const -inf)))
    (local.set $at (local.get $scores))
    (loop $next
      (local.set $most (f32x4.max (local.get $most) (v128.load (local.get $at))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $behind))))
    (local.set $most
      (f32x4.splat
        (f32.max
          (f32.max (f32x4.extract_lane 0 (local.get $most)) (f32x4.extract_lane 1 (local.get $most)))
          (f32.max (f32x4.extract_lane 2 (local.get $most)) (f32x4.extract_lane 3 (local.get $most))))))
    (local.set $sum (v128.const i32x4 0 0 0 0))
    (local.set $at (local.get $scores))
    (loop $next
      (local.set $x (v128.load (local.get $at)))
      (local.set $x
        (v128.andnot
          (call $exp (f32x4.sub (local.get $x) (local.get $most)))
          (f32x4.eq (local.get $x) (f32x4.splat (f32.const -inf)))))
      (v128.store (local.get $at) (local.get $x))
      (local.set $sum (f32x4.add (local.get $sum) (local.get $x)))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $behind))))
    (local.set $sum (f32x4.splat (f32.div (f32.const 1) (call $along (local.get $sum)))))
    ;; Values: four positions at a time into the whole head, then those that are left.
    (local.set $i (i32.add (local.get $y) (local.get $width)))
    (local.set $p (local.get $y))
    (loop $next
      (v128.store (local.get $p) (v128.const i32x4 0 0 0 0))
      (br_if $next (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 16))) (local.get $i))))
    (local.set $at (local.get $scores))
    (if (i32.ge_u (local.get $count) (i32.const 4))
      (then
        (loop $four
          (local.set $a (v128.load32_splat (local.get $at)))
          (local.set $b (v128.load32_splat offset=4 (local.get $at)))
          (local.set $c (v128.load32_splat offset=8 (local.get $at)))
          (local.set $d (v128.load32_splat offset=12 (local.get $at)))
          (local.set $k1 (i32.add (local.get $v) (local.get $width)))
          (local.set $k2 (i32.add (local.get $k1) (local.get $width)))
          (local.set $k3 (i32.add (local.get $k2) (local.get $width)))
          (local.set $p (local.get $y))
          (loop $next
            (v128.store (local.get $p)
              (f32x4.add (v128.load (local.get $p))
                (f32x4.add
                  (f32x4.add
                    (f32x4.mul (local.get $a) (v128.load (local.get $v)))
                    (f32x4.mul (local.get $b) (v128.load (local.get $k1))))
                  (f32x4.add
                    (f32x4.mul (local.get $c) (v128.load (local.get $k2)))
                    (f32x4.mul (local.get $d) (v128.load (local.get $k3)))))))
            (local.set $v (i32.add (local.get $v) (i32.const 16)))
            (local.set $k1 (i32.add (local.get $k1) (i32.const 16)))
            (local.set $k2 (i32.add (local.get $k2) (i32.const 16)))
            (local.set $k3 (i32.add (local.get $k3) (i32.const 16)))
            (br_if $next (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 16))) (local.get $i))))
          (local.set $v (local.get $k3))
          (br_if $four
            (i32.le_u (i32.add (local.tee $at (i32.add (local.get $at) (i32.const 16))) (i32.const 16)) (local.get $end))))))
    (if (i32.lt_u (local.get $at) (local.get $end))
      (then
        (loop $one
          (local.set $a (v128.load32_splat (local.get $at)))
          (local.set $p (local.get $y))
          (loop $next
            (v128.store (local.get $p)
              (f32x4.add (v128.load (local.get $p)) (f32x4.mul (local.get $a) (v128.load (local.get $v)))))
            (local.set $v (i32.add (local.get $v) (i32.const 16)))
            (br_if $next (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 16))) (local.get $i))))
          (br_if $one (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (local.get $end))))))
    (local.set $p (local.get $y))
    (loop $next
      (v128.store (local.get $p) (f32x4.mul (v128.load (local.get $p)) (local.get $sum)))
      (br_if $next (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 16))) (local.get $i)))))

  ;; Four values to the nearest whole numbers: f32 has no room for a fraction beyond 2^23, so the sum's last bits are the number.
  (func $nearest (param $v v128) (param $inverse v128) (result v128)
    (i32x4.sub
      (f32x4.add (f32x4.mul (local.get $v) (local.get $inverse)) (f32x4.splat (f32.const 12582912)))
      (f32x4.splat (f32.const 12582912))))

  ;; One row of $blocks blocks of f32 into its place in a tile. What is not a number gets a scale that is none.
  (func (export "quantise") (param $x i32) (param $blocks i32) (param $quants i32) (param $factors i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local $e v128) (local $f v128) (local $g v128) (local $h v128)
    (local $most v128) (local $inverse v128) (local $size f32)
    (loop $next
      (local.set $a (v128.load (local.get $x)))
      (local.set $b (v128.load offset=16 (local.get $x)))
      (local.set $c (v128.load offset=32 (local.get $x)))
      (local.set $d (v128.load offset=48 (local.get $x)))
      (local.set $e (v128.load offset=64 (local.get $x)))
      (local.set $f (v128.load offset=80 (local.get $x)))
      (local.set $g (v128.load offset=96 (local.get $x)))
      (local.set $h (v128.load offset=112 (local.get $x)))
      ;; Sizes compare as their bits do, NaN above all.
      (local.set $most
        (i32x4.max_s
          (i32x4.max_s
            (i32x4.max_s (f32x4.abs (local.get $a)) (f32x4.abs (local.get $b)))
            (i32x4.max_s (f32x4.abs (local.get $c)) (f32x4.abs (local.get $d))))
          (i32x4.max_s
            (i32x4.max_s (f32x4.abs (local.get $e)) (f32x4.abs (local.get $f)))
            (i32x4.max_s (f32x4.abs (local.get $g)) (f32x4.abs (local.get $h))))))
      (local.set $most
        (i32x4.max_s (local.get $most)
          (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $most) (local.get $most))))
      (local.set $most
        (i32x4.max_s (local.get $most)
          (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $most) (local.get $most))))
      (local.set $size (f32x4.extract_lane 0 (local.get $most)))
      (f32.store (local.get $factors) (f32.div (local.get $size) (f32.const 32767)))
      (f32.store offset=16 (local.get $factors)
        (call $along
          (f32x4.add
            (f32x4.add (f32x4.add (local.get $a) (local.get $b)) (f32x4.add (local.get $c) (local.get $d)))
            (f32x4.add (f32x4.add (local.get $e) (local.get $f)) (f32x4.add (local.get $g) (local.get $h))))))
      (local.set $inverse
        (f32x4.splat
          (select (f32.div (f32.const 32767) (local.get $size)) (f32.const 0) (f32.gt (local.get $size) (f32.const 0)))))
      (v128.store (local.get $quants)
        (i16x8.narrow_i32x4_s
          (call $nearest (local.get $a) (local.get $inverse)) (call $nearest (local.get $b) (local.get $inverse))))
      (v128.store offset=16 (local.get $quants)
        (i16x8.narrow_i32x4_s
          (call $nearest (local.get $c) (local.get $inverse)) (call $nearest (local.get $d) (local.get $inverse))))
      (v128.store offset=32 (local.get $quants)
        (i16x8.narrow_i32x4_s
          (call $nearest (local.get $e) (local.get $inverse)) (call $nearest (local.get $f) (local.get $inverse))))
      (v128.store offset=48 (local.get $quants)
        (i16x8.narrow_i32x4_s
          (call $nearest (local.get $g) (local.get $inverse)) (call $nearest (local.get $h) (local.get $inverse))))
      (local.set $x (i32.add (local.get $x) (i32.const 128)))
      (local.set $quants (i32.add (local.get $quants) (i32.const 256)))
      (local.set $factors (i32.add (local.get $factors) (i32.const 32)))
      (br_if $next (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1))))))

  ;; Weights and inputs in f32, $width bytes a row of both, a multiple of 16.
  (func (export "f32")
    (param $w i32) (param $outputs i32) (param $width i32) (param $x i32) (param $y i32) (param $stride i32) (param $rows i32)
    (local $pw i32) (local $px i32) (local $py i32) (local $end i32) (local $i i32) (local $sum v128)
    (loop $row
      (local.set $pw (local.get $w))
      (local.set $py (local.get $y))
      (local.set $end (i32.add (local.get $x) (local.get $width)))
      (local.set $i (local.get $outputs))
      (loop $output
        (local.set $px (local.get $x))
        (local.set $sum (v128.const i32x4 0 0 0 0))
        (loop $next
          (local.set $sum
            (f32x4.add (local.get $sum) (f32x4.mul (v128.load (local.get $pw)) (v128.load (local.get $px)))))
          (local.set $pw (i32.add (local.get $pw) (i32.const 16)))
          (br_if $next (i32.lt_u (local.tee $px (i32.add (local.get $px) (i32.const 16))) (local.get $end))))
        (f32.store (local.get $py) (call $along (local.get $sum)))
        (local.set $py (i32.add (local.get $py) (i32.const 4)))
        (br_if $output (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (local.set $x (local.get $end))
      (local.set $y (i32.add (local.get $y) (local.get $stride)))
      (br_if $row (local.tee $rows (i32.sub (local.get $rows) (i32.const 1)))))))
