;; Products of a matrix in blocks of eight bits with rows of inputs. engine/kernels/int8.ts is made from this: node engine/kernels/generate-main.ts
;;
;; As int4.wat, but that a block's quants are 32 i8, and its factors without an offset: one scale (int8), or one for each half (int8x2).
;; No sum leaves i32: a lane adds up 8 products of at most 128 * 32768, which is 2^25.
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

  (func $int8x2_one
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
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (v128.load8x8_s (local.get $w)) (v128.load (local.get $px)))
                  (i32x4.dot_i16x8_s (v128.load8x8_s offset=8 (local.get $w)) (v128.load offset=16 (local.get $px)))))
              (f32x4.splat (f32.mul (f32.load (local.get $f)) (f32.load (local.get $pf)))))))
        (local.set $sum
          (f32x4.add (local.get $sum)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (v128.load8x8_s offset=16 (local.get $w)) (v128.load offset=32 (local.get $px)))
                  (i32x4.dot_i16x8_s (v128.load8x8_s offset=24 (local.get $w)) (v128.load offset=48 (local.get $px)))))
              (f32x4.splat (f32.mul (f32.load offset=4 (local.get $f)) (f32.load (local.get $pf)))))))
        (local.set $w (i32.add (local.get $w) (i32.const 32)))
        (local.set $f (i32.add (local.get $f) (i32.const 8)))
        (local.set $px (i32.add (local.get $px) (i32.const 256)))
        (local.set $pf (i32.add (local.get $pf) (i32.const 32)))
        (br_if $block (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (f32.store (local.get $y) (call $along (local.get $sum)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br_if $output (local.tee $outputs (i32.sub (local.get $outputs) (i32.const 1))))))

  (func $int8x2_four
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
                  (i32x4.dot_i16x8_s (local.get $a) (v128.load (local.get $px)))
                  (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=16 (local.get $px)))))
              (i8x16.shuffle 0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3 (local.get $scale) (local.get $scale)))))
        (local.set $sum1
          (f32x4.add (local.get $sum1)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=64 (local.get $px)))
                  (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=80 (local.get $px)))))
              (i8x16.shuffle 4 5 6 7 4 5 6 7 4 5 6 7 4 5 6 7 (local.get $scale) (local.get $scale)))))
        (local.set $sum2
          (f32x4.add (local.get $sum2)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=128 (local.get $px)))
                  (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=144 (local.get $px)))))
              (i8x16.shuffle 8 9 10 11 8 9 10 11 8 9 10 11 8 9 10 11 (local.get $scale) (local.get $scale)))))
        (local.set $sum3
          (f32x4.add (local.get $sum3)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (local.get $a) (v128.load offset=192 (local.get $px)))
                  (i32x4.dot_i16x8_s (local.get $b) (v128.load offset=208 (local.get $px)))))
              (i8x16.shuffle 12 13 14 15 12 13 14 15 12 13 14 15 12 13 14 15 (local.get $scale) (local.get $scale)))))
        (local.set $scale (f32x4.mul (v128.load32_splat offset=4 (local.get $f)) (v128.load (local.get $pf))))
        (local.set $sum0
          (f32x4.add (local.get $sum0)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=32 (local.get $px)))
                  (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=48 (local.get $px)))))
              (i8x16.shuffle 0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3 (local.get $scale) (local.get $scale)))))
        (local.set $sum1
          (f32x4.add (local.get $sum1)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=96 (local.get $px)))
                  (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=112 (local.get $px)))))
              (i8x16.shuffle 4 5 6 7 4 5 6 7 4 5 6 7 4 5 6 7 (local.get $scale) (local.get $scale)))))
        (local.set $sum2
          (f32x4.add (local.get $sum2)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=160 (local.get $px)))
                  (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=176 (local.get $px)))))
              (i8x16.shuffle 8 9 10 11 8 9 10 11 8 9 10 11 8 9 10 11 (local.get $scale) (local.get $scale)))))
        (local.set $sum3
          (f32x4.add (local.get $sum3)
            (f32x4.mul
              (f32x4.convert_i32x4_s
                (i32x4.add
                  (i32x4.dot_i16x8_s (local.get $c) (v128.load offset=224 (local.get $px)))
                  (i32x4.dot_i16x8_s (local.get $d) (v128.load offset=240 (local.get $px)))))
              (i8x16.shuffle 12 13 14 15 12 13 14 15 12 13 14 15 12 13 14 15 (local.get $scale) (local.get $scale)))))
        (local.set $w (i32.add (local.get $w) (i32.const 32)))
        (local.set $f (i32.add (local.get $f) (i32.const 8)))
        (local.set $px (i32.add (local.get $px) (i32.const 256)))
        (local.set $pf (i32.add (local.get $pf) (i32.const 32)))
        (br_if $block (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (call $store (local.get $y) (local.get $stride)
        (call $across (local.get $sum0) (local.get $sum1) (local.get $sum2) (local.get $sum3)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br_if $output (local.tee $outputs (i32.sub (local.get $outputs) (i32.const 1))))))

  ;; One result of four rows.
  (func $store (param $y i32) (param $stride i32) (param $v v128)
    (v128.store32_lane 0 (local.get $y) (local.get $v))
    (v128.store32_lane 1 (local.tee $y (i32.add (local.get $y) (local.get $stride))) (local.get $v))
    (v128.store32_lane 2 (local.tee $y (i32.add (local.get $y) (local.get $stride))) (local.get $v))
    (v128.store32_lane 3 (i32.add (local.get $y) (local.get $stride)) (local.get $v)))

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

  (func (export "int8x2")
    (param $w i32) (param $f i32) (param $outputs i32) (param $blocks i32) (param $x i32) (param $xf i32) (param $y i32)
    (param $stride i32) (param $rows i32)
    (loop $tile
      (if (i32.eq (local.get $rows) (i32.const 1))
        (then
          (call $int8x2_one (local.get $w) (local.get $f) (local.get $outputs) (local.get $blocks) (local.get $x) (local.get $xf) (local.get $y)))
        (else
          (call $int8x2_four
            (local.get $w) (local.get $f) (local.get $outputs) (local.get $blocks) (local.get $x) (local.get $xf) (local.get $y)
            (local.get $stride))))
      (local.set $x (i32.add (local.get $x) (i32.shl (local.get $blocks) (i32.const 8))))
      (local.set $xf (i32.add (local.get $xf) (i32.shl (local.get $blocks) (i32.const 5))))
      (local.set $y (i32.add (local.get $y) (i32.shl (local.get $stride) (i32.const 2))))
      (br_if $tile (i32.gt_s (local.tee $rows (i32.sub (local.get $rows) (i32.const 4))) (i32.const 0))))))
