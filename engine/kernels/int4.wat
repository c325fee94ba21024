;; Products of a matrix in blocks of four bits with rows of inputs. engine/kernels/int4.ts is made from this: node engine/kernels/generate-main.ts
;;
;; Inputs are tiles of four rows, as `quantise` of layers.wat makes them: a block's quants are 4 x 32 i16, its factors the rows' 4 scales and the
;; 4 sums of their values, f32. Weights lie row by row, all quants before all factors. Word j of a block's 8 holds values j, 8 + j, 16 + j and
;; 24 + j from its lowest bits up; its factors are scale and offset: value = scale * bits + offset.
;;
;; No sum leaves i32: a lane adds up 8 products of at most 15 * 32768, which is less than 2^22.
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
      (br_if $tile (i32.gt_s (local.tee $rows (i32.sub (local.get $rows) (i32.const 4))) (i32.const 0))))))
