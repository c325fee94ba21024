;; Products of weight matrices in blocks with rows of inputs. engine/kernels/matrices.ts is made from this: node engine/kernels/generate-main.ts
;;
;; Inputs are 16-bit quants with a scale for each block of 32, four rows together in a tile: a block's quants are 4 x 32 i16, its factors are
;; the 4 rows' scales and the 4 sums of their values, f32. Weights lie row by row, a block's quants apart from its factors:
;;   int4: word j of 8 holds values j, 8 + j, 16 + j and 24 + j from its lowest bits up; factors: scale, offset: value = scale * bits + offset
;;   int8: 32 i8; factor: scale
;; No sum leaves i32: a lane adds up 8 products of at most 128 * 32768, which is 2^25.
;;
;; A result is the same to the last bit whether its row of inputs is computed alone or in a tile: each has its own sum, added up in one order.
(module
  (memory (import "host" "memory") 1 65536)

  ;; The lanes of a sum, added as $across does.
  (func $along (param $v v128) (result f32)
    (f32.add
      (f32.add (f32x4.extract_lane 0 (local.get $v)) (f32x4.extract_lane 2 (local.get $v)))
      (f32.add (f32x4.extract_lane 1 (local.get $v)) (f32x4.extract_lane 3 (local.get $v)))))

  ;; The same of four sums at once.
  (func $across (param $a v128) (param $b v128) (param $c v128) (param $d v128) (result v128)
    (local $low v128) (local $high v128)
    (local.set $low
      (f32x4.add
        (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a) (local.get $b))
        (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a) (local.get $b))))
    (local.set $high
      (f32x4.add
        (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $c) (local.get $d))
        (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $c) (local.get $d))))
    (f32x4.add
      (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $low) (local.get $high))
      (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $low) (local.get $high))))

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

  ;; Products of 32 quants with 32 weights. Written out where four rows share the weights: engines don't inline calls there, which costs half.
  (func $dot (param $x i32) (param $a v128) (param $b v128) (param $c v128) (param $d v128) (result v128)
    (f32x4.convert_i32x4_s
      (i32x4.add
        (i32x4.add
          (i32x4.dot_i16x8_s (local.get $a) (v128.load (local.get $x)))
          (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=16 (local.get $x))))
        (i32x4.add
          (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=32 (local.get $x)))
          (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=48 (local.get $x)))))))

  (func $int4_one
    (param $w i32) (param $f i32) (param $outputs i32) (param $blocks i32) (param $x i32) (param $xf i32) (param $y i32)
    (local $i i32) (local $px i32) (local $pf i32) (local $v v128) (local $sum v128) (local $offset f32)
    (loop $output
      (local.set $i (local.get $blocks))
      (local.set $px (local.get $x))
      (local.set $pf (local.get $xf))
      (local.set $sum (v128.const i32x4 0 0 0 0))
      (local.set $offset (f32.const 0))
      (loop $block
        (local.set $v (v128.load (local.get $w)))
        (local.set $sum
          (f32x4.add (local.get $sum)
            (f32x4.mul
              (call $dot (local.get $px)
                (v128.and (local.get $v) (i16x8.splat (i32.const 15)))
                (v128.and (i16x8.shr_u (local.get $v) (i32.const 4)) (i16x8.splat (i32.const 15)))
                (v128.and (i16x8.shr_u (local.get $v) (i32.const 8)) (i16x8.splat (i32.const 15)))
                (i16x8.shr_u (local.get $v) (i32.const 12)))
              (f32x4.splat (f32.mul (f32.load (local.get $f)) (f32.load (local.get $pf)))))))
        (local.set $offset
          (f32.add (local.get $offset) (f32.mul (f32.load offset=4 (local.get $f)) (f32.load offset=16 (local.get $pf)))))
        (local.set $w (i32.add (local.get $w) (i32.const 16)))
        (local.set $f (i32.add (local.get $f) (i32.const 8)))
        (local.set $px (i32.add (local.get $px) (i32.const 256)))
        (local.set $pf (i32.add (local.get $pf) (i32.const 32)))
        (br_if $block (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (f32.store (local.get $y) (f32.add (call $along (local.get $sum)) (local.get $offset)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br_if $output (local.tee $outputs (i32.sub (local.get $outputs) (i32.const 1))))))

  (func $int4_four
    (param $w i32) (param $f i32) (param $outputs i32) (param $blocks i32) (param $x i32) (param $xf i32) (param $y i32)
    (param $stride i32)
    (local $i i32) (local $px i32) (local $pf i32) (local $v v128) (local $a v128) (local $b v128) (local $c v128)
    (local $d v128) (local $scale v128) (local $offset v128)
    (local $sum0 v128) (local $sum1 v128) (local $sum2 v128) (local $sum3 v128)
    (loop $output
      (local.set $i (local.get $blocks))
      (local.set $px (local.get $x))
      (local.set $pf (local.get $xf))
      (local.set $sum0 (v128.const i32x4 0 0 0 0))
      (local.set $sum1 (v128.const i32x4 0 0 0 0))
      (local.set $sum2 (v128.const i32x4 0 0 0 0))
      (local.set $sum3 (v128.const i32x4 0 0 0 0))
      (local.set $offset (v128.const i32x4 0 0 0 0))
      (loop $block
        (local.set $v (v128.load (local.get $w)))
        (local.set $a (v128.and (local.get $v) (i16x8.splat (i32.const 15))))
        (local.set $b (v128.and (i16x8.shr_u (local.get $v) (i32.const 4)) (i16x8.splat (i32.const 15))))
        (local.set $c (v128.and (i16x8.shr_u (local.get $v) (i32.const 8)) (i16x8.splat (i32.const 15))))
        (local.set $d (i16x8.shr_u (local.get $v) (i32.const 12)))
        (local.set $scale (f32x4.mul (v128.load32_splat (local.get $f)) (v128.load (local.get $pf))))
        (local.set $sum0
          (f32x4.add (local.get $sum0)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $a) (v128.load (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=16 (local.get $px))))
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=32 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=48 (local.get $px))))))
              (i8x16.shuffle 0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3 (local.get $scale) (local.get $scale)))))
        (local.set $sum1
          (f32x4.add (local.get $sum1)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=64 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=80 (local.get $px))))
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=96 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=112 (local.get $px))))))
              (i8x16.shuffle 4 5 6 7 4 5 6 7 4 5 6 7 4 5 6 7 (local.get $scale) (local.get $scale)))))
        (local.set $sum2
          (f32x4.add (local.get $sum2)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=128 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=144 (local.get $px))))
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=160 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=176 (local.get $px))))))
              (i8x16.shuffle 8 9 10 11 8 9 10 11 8 9 10 11 8 9 10 11 (local.get $scale) (local.get $scale)))))
        (local.set $sum3
          (f32x4.add (local.get $sum3)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=192 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=208 (local.get $px))))
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=224 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=240 (local.get $px))))))
              (i8x16.shuffle 12 13 14 15 12 13 14 15 12 13 14 15 12 13 14 15 (local.get $scale) (local.get $scale)))))
        (local.set $offset
          (f32x4.add (local.get $offset)
            (f32x4.mul (v128.load32_splat offset=4 (local.get $f)) (v128.load offset=16 (local.get $pf)))))
        (local.set $w (i32.add (local.get $w) (i32.const 16)))
        (local.set $f (i32.add (local.get $f) (i32.const 8)))
        (local.set $px (i32.add (local.get $px) (i32.const 256)))
        (local.set $pf (i32.add (local.get $pf) (i32.const 32)))
        (br_if $block (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (call $store (local.get $y) (local.get $stride)
        (f32x4.add
          (call $across (local.get $sum0) (local.get $sum1) (local.get $sum2) (local.get $sum3))
          (local.get $offset)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br_if $output (local.tee $outputs (i32.sub (local.get $outputs) (i32.const 1))))))

  ;; One result of four rows.
  (func $store (param $y i32) (param $stride i32) (param $v v128)
    (v128.store32_lane 0 (local.get $y) (local.get $v))
    (v128.store32_lane 1 (local.tee $y (i32.add (local.get $y) (local.get $stride))) (local.get $v))
    (v128.store32_lane 2 (local.tee $y (i32.add (local.get $y) (local.get $stride))) (local.get $v))
    (v128.store32_lane 3 (i32.add (local.get $y) (local.get $stride)) (local.get $v)))

  ;; $outputs rows of weights, $rows of inputs; a row of results lies $stride bytes behind the one before it. Results of whole tiles are written:
  ;; up to three rows behind the last.
  (func (export "int4")
    (param $w i32) (param $f i32) (param $outputs i32) (param $blocks i32) (param $x i32) (param $xf i32) (param $y i32)
    (param $stride i32) (param $rows i32)
    (loop $tile
      (if (i32.eq (local.get $rows) (i32.const 1))
        (then
          (call $int4_one (local.get $w) (local.get $f) (local.get $outputs) (local.get $blocks) (local.get $x) (local.get $xf) (local.get $y)))
        (else
          (call $int4_four
            (local.get $w) (local.get $f) (local.get $outputs) (local.get $blocks) (local.get $x) (local.get $xf) (local.get $y)
            (local.get $stride))))
      (local.set $x (i32.add (local.get $x) (i32.shl (local.get $blocks) (i32.const 8))))
      (local.set $xf (i32.add (local.get $xf) (i32.shl (local.get $blocks) (i32.const 5))))
      (local.set $y (i32.add (local.get $y) (i32.shl (local.get $stride) (i32.const 2))))
      (br_if $tile (i32.gt_s (local.tee $rows (i32.sub (local.get $rows) (i32.const 4))) (i32.const 0)))))

  (func $int8_one
    (param $w i32) (param $f i32) (param $outputs i32) (param $blocks i32) (param $x i32) (param $xf i32) (param $y i32)
    (local $i i32) (local $px i32) (local $pf i32) (local $sum v128)
    (loop $output
      (local.set $i (local.get $blocks))
      (local.set $px (local.get $x))
      (local.set $pf (local.get $xf))
      (local.set $sum (v128.const i32x4 0 0 0 0))
      (loop $block
        (local.set $sum
          (f32x4.add (local.get $sum)
            (f32x4.mul
              (call $dot (local.get $px)
                (v128.load8x8_s (local.get $w)) (v128.load8x8_s offset=8 (local.get $w))
                (v128.load8x8_s offset=16 (local.get $w)) (v128.load8x8_s offset=24 (local.get $w)))
              (f32x4.splat (f32.mul (f32.load (local.get $f)) (f32.load (local.get $pf)))))))
        (local.set $w (i32.add (local.get $w) (i32.const 32)))
        (local.set $f (i32.add (local.get $f) (i32.const 4)))
        (local.set $px (i32.add (local.get $px) (i32.const 256)))
        (local.set $pf (i32.add (local.get $pf) (i32.const 32)))
        (br_if $block (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (f32.store (local.get $y) (call $along (local.get $sum)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br_if $output (local.tee $outputs (i32.sub (local.get $outputs) (i32.const 1))))))

  (func $int8_four
    (param $w i32) (param $f i32) (param $outputs i32) (param $blocks i32) (param $x i32) (param $xf i32) (param $y i32)
    (param $stride i32)
    (local $i i32) (local $px i32) (local $pf i32) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local $scale v128) (local $sum0 v128) (local $sum1 v128) (local $sum2 v128) (local $sum3 v128)
    (loop $output
      (local.set $i (local.get $blocks))
      (local.set $px (local.get $x))
      (local.set $pf (local.get $xf))
      (local.set $sum0 (v128.const i32x4 0 0 0 0))
      (local.set $sum1 (v128.const i32x4 0 0 0 0))
      (local.set $sum2 (v128.const i32x4 0 0 0 0))
      (local.set $sum3 (v128.const i32x4 0 0 0 0))
      (loop $block
        (local.set $a (v128.load8x8_s (local.get $w)))
        (local.set $b (v128.load8x8_s offset=8 (local.get $w)))
        (local.set $c (v128.load8x8_s offset=16 (local.get $w)))
        (local.set $d (v128.load8x8_s offset=24 (local.get $w)))
        (local.set $scale (f32x4.mul (v128.load32_splat (local.get $f)) (v128.load (local.get $pf))))
        (local.set $sum0
          (f32x4.add (local.get $sum0)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $a) (v128.load (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=16 (local.get $px))))
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=32 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=48 (local.get $px))))))
              (i8x16.shuffle 0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3 (local.get $scale) (local.get $scale)))))
        (local.set $sum1
          (f32x4.add (local.get $sum1)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=64 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=80 (local.get $px))))
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=96 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=112 (local.get $px))))))
              (i8x16.shuffle 4 5 6 7 4 5 6 7 4 5 6 7 4 5 6 7 (local.get $scale) (local.get $scale)))))
        (local.set $sum2
          (f32x4.add (local.get $sum2)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=128 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=144 (local.get $px))))
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=160 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=176 (local.get $px))))))
              (i8x16.shuffle 8 9 10 11 8 9 10 11 8 9 10 11 8 9 10 11 (local.get $scale) (local.get $scale)))))
        (local.set $sum3
          (f32x4.add (local.get $sum3)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=192 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=208 (local.get $px))))
                  (i32x4.add
                    (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=224 (local.get $px)))
                    (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=240 (local.get $px))))))
              (i8x16.shuffle 12 13 14 15 12 13 14 15 12 13 14 15 12 13 14 15 (local.get $scale) (local.get $scale)))))
        (local.set $w (i32.add (local.get $w) (i32.const 32)))
        (local.set $f (i32.add (local.get $f) (i32.const 4)))
        (local.set $px (i32.add (local.get $px) (i32.const 256)))
        (local.set $pf (i32.add (local.get $pf) (i32.const 32)))
        (br_if $block (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (call $store (local.get $y) (local.get $stride)
        (call $across (local.get $sum0) (local.get $sum1) (local.get $sum2) (local.get $sum3)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br_if $output (local.tee $outputs (i32.sub (local.get $outputs) (i32.const 1))))))

  (func (export "int8")
    (param $w i32) (param $f i32) (param $outputs i32) (param $blocks i32) (param $x i32) (param $xf i32) (param $y i32)
    (param $stride i32) (param $rows i32)
    (loop $tile
      (if (i32.eq (local.get $rows) (i32.const 1))
        (then
          (call $int8_one (local.get $w) (local.get $f) (local.get $outputs) (local.get $blocks) (local.get $x) (local.get $xf) (local.get $y)))
        (else
          (call $int8_four
            (local.get $w) (local.get $f) (local.get $outputs) (local.get $blocks) (local.get $x) (local.get $xf) (local.get $y)
            (local.get $stride))))
      (local.set $x (i32.add (local.get $x) (i32.shl (local.get $blocks) (i32.const 8))))
      (local.set $xf (i32.add (local.get $xf) (i32.shl (local.get $blocks) (i32.const 5))))
      (local.set $y (i32.add (local.get $y) (i32.shl (local.get $stride) (i32.const 2))))
      (br_if $tile (i32.gt_s (local.tee $rows (i32.sub (local.get $rows) (i32.const 4))) (i32.const 0)))))

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
