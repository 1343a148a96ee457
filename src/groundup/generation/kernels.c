/* The decoding step's inner loops, for few rows: a sublayer is one call.

   At one token a step a model is read whole for two operations a weight. torch needs some thirty calls for a layer, each of
   which costs more than its work, and has no product that reads bf16 or int8 weights at the memory's rate on processors
   without bf16. Here a weight is turned into float32 on its way from memory into a register; sums are float32.

   A row's sums run in the same order however many rows there are beside it, and are rounded alike (fmaf where a compiler might choose),
   so a text's numbers do not hang on its neighbours.

   Shapes: n rows (tokens), D model width, K heads, G kv-heads, H head width, F inner width, O outputs, I inputs, C context. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#else
#define omp_get_thread_num() 0
#define omp_get_num_threads() 1
#endif

#ifdef __AVX512F__
#define LANES 16
#define WIDE 4 /* outputs of a tile of four rows: 4 x 4 sums in 32 registers */
#else
#define LANES 8
#define WIDE 2 /* 2 x 4 sums in 16 registers; of 3 x 4 gcc keeps one in memory, which halves the speed */
#endif
#define LONG 4 /* outputs of a tile of one row; tiles are 4 x 1, WIDE x 4, or of one output */
#define PANEL (32 * 1024) /* weights that stay in the second cache while all rows pass over them; PANEL + SUMS floats of scratch for a product */
#define STRETCH 1024 /* inputs summed at once: four rows of so many stay in the first cache */
#define SUMS (8 * 1024)
#define AHEAD 4 /* places of the past fetched before they are read: the processor does not foresee beyond a page */
#define GATE_CHANNELS 12
#define INLINE static inline __attribute__((always_inline))
#ifdef __x86_64__
#define KEEP(v) __asm__("" : "+x"(v)) /* in a register: gcc would rather load it again for each use */
#else
#define KEEP(v)
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

enum { FLOAT32, BFLOAT16, INT8 };
enum { NO_NORM, RMS, LAYER };
enum { RELU, RELU2, GELU, GELU_TANH, SILU };

typedef struct {
    const void *weight; /* (O, I), rows contiguous */
    const float *scale; /* (O) of int8 */
    const float *bias;  /* (O) or NULL */
    int64_t outputs, inputs;
    int32_t format;
} Map;

typedef struct {
    const float *weight, *bias; /* (D) or NULL */
    float eps;
    int32_t kind;
} Norm;

/* stream = alpha stream + factor (what the sublayer makes of what it reads); normalised before or (post) after */
typedef struct {
    Norm norm;
    float alpha, factor;
    int32_t post, width;
} Frame;

typedef struct {
    Frame frame;
    Map qkv, out;
    const float *scales;       /* (K + G, H) of normalised queries and keys, or NULL */
    const float *turns;        /* (C, H/2) pairs cosine, sine; NULL: nothing turns */
    const float *gate, *values; /* (G, GATE_CHANNELS), (V, G H) or NULL */
    const float *slopes;       /* (K) of ALiBi, or NULL */
    float eps, sharpness, scale, softcap; /* sharpness 0: queries and keys stay as they are */
    int32_t heads, kv_heads, head_width, window;
} Attention;

typedef struct {
    Frame frame;
    Map up, down; /* up: the gate's outputs before the others where there is one */
    int32_t gated, function;
} Feedforward;

typedef struct {
    int64_t n;
    const int64_t *tokens, *positions, *slots;
    int64_t capacity, floats; /* places of a slot; scratch of a thread */
    float *scratch, *shared;
    int32_t threads, cache_format;
} Pass;

/* --- vectors ---------------------------------------------------------------------------------------------------------- */

INLINE vec load(const int format, const void *from, int64_t at) {
    if (format == FLOAT32) return *(const vec *)((const float *)from + at);
    if (format == BFLOAT16) {
        const uint16_t *half = (const uint16_t *)from + at;
#if defined(__AVX512F__)
        return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)half)), 16);
#elif defined(__AVX2__)
        return (vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)half)), 16);
#else
        return (vec)(__builtin_convertvector(*(const halves *)half, uvec) << 16);
#endif
    }
    const int8_t *whole = (const int8_t *)from + at;
#if defined(__AVX512F__)
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)whole)));
#elif defined(__AVX2__)
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)whole)));
#else
    return __builtin_convertvector(__builtin_convertvector(*(const bytes *)whole, ivec), vec);
#endif
}

INLINE float one(const int format, const void *from, int64_t at) {
    if (format == FLOAT32) return ((const float *)from)[at];
    if (format == INT8) return ((const int8_t *)from)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)from)[at] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE uint16_t to_bf16(float value) { /* to the nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* adds the sums of the lanes of 1 or 4 vectors to `sums`: neighbours first, then pairs of neighbours, ... */
#ifdef __AVX2__
INLINE __m256 half(vec v) {
#ifdef __AVX512F__
    return _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)v), 1)));
#else
    return (__m256)v;
#endif
}
INLINE __m128 four_totals(vec a, vec b, vec c, vec d) {
    __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(half(a), half(b)), _mm256_hadd_ps(half(c), half(d)));
    return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}
INLINE float total(vec v) { return _mm_cvtss_f32(four_totals(v, v, v, v)); }
INLINE void add_four(float *sums, vec a, vec b, vec c, vec d) { _mm_storeu_ps(sums, _mm_add_ps(_mm_loadu_ps(sums), four_totals(a, b, c, d))); }
#else
INLINE float total(vec v) {
    float part[LANES];
    memcpy(part, &v, sizeof v);
    for (int count = LANES; count > 1; count /= 2)
        for (int i = 0; i < count / 2; i++) part[i] = part[2 * i] + part[2 * i + 1];
    return part[0];
}
INLINE void add_four(float *sums, vec a, vec b, vec c, vec d) {
    sums[0] += total(a), sums[1] += total(b), sums[2] += total(c), sums[3] += total(d);
}
#endif

INLINE vec fused(vec a, vec b, vec c) { /* a b + c, rounded once; left to itself gcc does so in some loops and not in others */
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

INLINE vec all(float value) { return value - (vec){0}; }

INLINE vec either(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }
INLINE vec below(vec x, vec most) { return either(x < most, x, most); }
INLINE vec above(vec x, vec least) { return either(x > least, x, least); }

/* e^x to 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes, expf) */
INLINE vec exponential(vec x) {
    x = above(below(x, all(88.3f)), all(-87.3f));
    vec n = x * 1.44269504f + 12582912.0f - 12582912.0f;
    x = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec y = all(1.9875691500e-4f);
    y = y * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * x * x + x + 1.0f;
    ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
    return y * (vec)power;
}

INLINE vec activation(const int function, vec x) {
    if (function == RELU) return above(x, all(0));
    if (function == RELU2) return above(x, all(0)) * above(x, all(0));
    if (function == SILU) return x / (1.0f + exponential(-x));
    if (function == GELU_TANH) return x / (1.0f + exponential(-1.5957691216f * (x + 0.044715f * x * x * x)));
    vec y;
    for (int i = 0; i < LANES; i++) y[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
    return y;
}

/* --- products --------------------------------------------------------------------------------------------------------- */

/* Adds to `sums` the products of `outs` rows of weights with `rows` rows of x over `count` inputs, and fetches what is read next: `next`,
   as many bytes a weight as `next_size` says. All sizes but `count` and the strides are constants where it is called. */
INLINE void tile(const int format, const int outs, const int rows, const void *weight, int64_t at, int64_t stride, int64_t count, const float *const *x,
                 float *sums, const char *next, int64_t next_stride, const int64_t next_size) {
    vec sum[4][4]; /* of constant size, or they would not be kept in registers */
#pragma GCC unroll 4
    for (int o = 0; o < outs; o++)
#pragma GCC unroll 4
        for (int j = 0; j < rows; j++) sum[o][j] = (vec){0};
    int64_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        vec w[4];
#pragma GCC unroll 4
        for (int o = 0; o < outs; o++) {
            w[o] = load(format, weight, at + o * stride + k);
            if (rows > 1) KEEP(w[o]);
            if (next_size) __builtin_prefetch(next + o * next_stride + k * next_size);
        }
#pragma GCC unroll 4
        for (int j = 0; j < rows; j++) {
            vec v = *(const vec *)(x[j] + k);
            KEEP(v);
#pragma GCC unroll 4
            for (int o = 0; o < outs; o++) sum[o][j] = fused(w[o], v, sum[o][j]);
        }
    }
    if (rows == 4) {
#pragma GCC unroll 4
        for (int o = 0; o < outs; o++) add_four(sums + 4 * o, sum[o][0], sum[o][1], sum[o][2], sum[o][3]);
    } else if (outs == 4)
        add_four(sums, sum[0][0], sum[1][0], sum[2][0], sum[3][0]);
    else
        sums[0] += total(sum[0][0]);
    for (; k < count; k++)
        for (int o = 0; o < outs; o++)
            for (int j = 0; j < rows; j++) sums[o * rows + j] = fmaf(one(format, weight, at + o * stride + k), x[j][k], sums[o * rows + j]);
}

typedef struct { /* the rows and where their outputs go: y[j, o] = alpha y[j, o] + factor (scale sum + bias) */
    const Map *map;
    const float *x;
    float *y;
    int64_t x_stride, y_stride;
    float alpha, factor;
} Product;

INLINE void put(const Product *p, int64_t first, int outs, int rows, int64_t j, int n, const float *sums) {
    for (int o = 0; o < outs; o++) {
        const float scale = p->map->format == INT8 ? p->map->scale[first + o] : 1.0f, bias = p->map->bias ? p->map->bias[first + o] : 0.0f;
        for (int row = 0; row < n; row++) {
            float *to = p->y + (j + row) * p->y_stride + first + o, made = p->factor * fmaf(sums[o * rows + row], scale, bias);
            *to = p->alpha == 0.0f ? made : fmaf(p->alpha, *to, made);
        }
    }
}

INLINE void rows_at(const Product *p, int64_t j, int n, int rows, const float **x) { /* of too few the first stands for the others */
    for (int row = 0; row < rows; row++) x[row] = p->x + (j + (row < n ? row : 0)) * p->x_stride;
}

/* outputs [o, last) of up to ROWS rows, straight from the weights */
#define STRAIGHT(NAME, FORMAT, SIZE, OUTS, ROWS)                                                                                           \
    static void NAME(const Product *p, int64_t o, int64_t last, int n) {                                                                   \
        const int64_t I = p->map->inputs;                                                                                                  \
        const char *weight = p->map->weight;                                                                                               \
        const float *x[ROWS], *part[ROWS];                                                                                                 \
        rows_at(p, 0, n, ROWS, x);                                                                                                         \
        while (o < last) {                                                                                                                 \
            const int outs = o + (OUTS) <= last ? (OUTS) : 1;                                                                              \
            float sums[(OUTS) * (ROWS)] = {0};                                                                                             \
            for (int64_t k = 0; k < I; k += STRETCH) {                                                                                     \
                const int64_t count = I - k < STRETCH ? I - k : STRETCH, at = o * I + k;                                                   \
                for (int row = 0; row < (ROWS); row++) part[row] = x[row] + k;                                                             \
                if (outs == (OUTS))                                                                                                        \
                    tile(FORMAT, OUTS, ROWS, weight, at, I, count, part, sums, weight + (at + (OUTS) * I) * (SIZE), I * (SIZE), SIZE);      \
                else                                                                                                                       \
                    tile(FORMAT, 1, ROWS, weight, at, I, count, part, sums, weight, 0, 0);                                                 \
            }                                                                                                                              \
            put(p, o, outs, ROWS, 0, n, sums);                                                                                             \
            o += outs;                                                                                                                     \
        }                                                                                                                                  \
    }
STRAIGHT(one_float32, FLOAT32, 4, LONG, 1)
STRAIGHT(one_bfloat16, BFLOAT16, 2, LONG, 1)
STRAIGHT(one_int8, INT8, 1, LONG, 1)
STRAIGHT(four_float32, FLOAT32, 4, WIDE, 4)
STRAIGHT(four_bfloat16, BFLOAT16, 2, WIDE, 4)
STRAIGHT(four_int8, INT8, 1, WIDE, 4)

/* many rows over a panel of weights in float32 that stays in the second cache, while the next one is fetched; adds to sums[tile][row] */
#define PANELS(NAME, OUTS)                                                                                                                 \
    static void NAME(const Product *p, const float *panel, int64_t stride, int64_t k, int64_t count, int64_t height, int64_t n, float *sums, \
                     const char *next, int64_t next_stride, int64_t size) {                                                                \
        const int64_t blocks = (n + 3) / 4;                                                                                                \
        for (int64_t block = 0; block < blocks; block++) {                                                                                 \
            const float *x[4];                                                                                                             \
            rows_at(p, 4 * block, n - 4 * block < 4 ? n - 4 * block : 4, 4, x);                                                            \
            for (int row = 0; row < 4; row++) x[row] += k;                                                                                 \
            for (int64_t o = 0; o < height; o += (OUTS)) {                                                                                 \
                float *to = sums + (o * blocks + block * (OUTS)) * 4;                                                                      \
                tile(FLOAT32, OUTS, 4, panel, o * stride, stride, count, x, to, next, 0, 0);                                                \
                for (int64_t row = o; row < o + (OUTS); row++)                                                                             \
                    for (int64_t at = block * count * size / blocks; at < (block + 1) * count * size / blocks; at += 64)                   \
                        __builtin_prefetch(next + row * next_stride + at, 0, 2);                                                           \
            }                                                                                                                              \
        }                                                                                                                                  \
    }
PANELS(panels, WIDE)
PANELS(panels_of_one, 1)

/* outputs [first, last) of rows [0, n), n > 4 */
static void through_panels(const Product *p, int64_t first, int64_t last, int64_t n, float *scratch) {
    const Map *map = p->map;
    const int64_t I = map->inputs, size = map->format == FLOAT32 ? 4 : map->format == BFLOAT16 ? 2 : 1, blocks = (n + 3) / 4;
    const int64_t length = I < STRETCH ? I : STRETCH;
    int64_t high = PANEL / length / WIDE * WIDE;
    if (high * blocks * 4 > SUMS) high = SUMS / 4 / blocks / WIDE * WIDE;
    float *sums = scratch + PANEL;
    for (int64_t o = first, height; o < last; o += height) {
        height = last - o < high ? last - o : high;
        const int outs = height >= WIDE ? WIDE : 1;
        if (outs == WIDE) height = height / WIDE * WIDE;
        memset(sums, 0, height * blocks * 4 * sizeof *sums);
        for (int64_t k = 0; k < I; k += length) {
            const int64_t count = I - k < length ? I - k : length;
            const char *from = (const char *)map->weight + (o * I + k) * size;
            const char *next = k + length < I ? from + length * size : (const char *)map->weight + (o + height) * I * size;
            const float *panel = (const float *)from;
            int64_t stride = I;
            if (map->format != FLOAT32) { /* turned once for all rows */
                for (int64_t row = 0; row < height; row++) {
                    int64_t i = 0, at = (o + row) * I + k;
                    if (map->format == BFLOAT16)
                        for (; i + LANES <= count; i += LANES) *(vec *)(scratch + row * count + i) = load(BFLOAT16, map->weight, at + i);
                    else
                        for (; i + LANES <= count; i += LANES) *(vec *)(scratch + row * count + i) = load(INT8, map->weight, at + i);
                    for (; i < count; i++) scratch[row * count + i] = one(map->format, map->weight, at + i);
                }
                panel = scratch, stride = count;
            }
            (outs == 1 ? panels_of_one : panels)(p, panel, stride, k, count, height, n, sums, next, I * size, size);
        }
        for (int64_t row = 0; row < height; row += outs)
            for (int64_t block = 0; block < blocks; block++)
                put(p, o + row, outs, 4, 4 * block, n - 4 * block < 4 ? n - 4 * block : 4, sums + (row * blocks + block * outs) * 4);
    }
}

static void product(const Product *p, int64_t first, int64_t last, int64_t n, float *scratch) {
    const int format = p->map->format;
    if (n == 1)
        (format == FLOAT32 ? one_float32 : format == BFLOAT16 ? one_bfloat16 : one_int8)(p, first, last, 1);
    else if (n <= 4)
        (format == FLOAT32 ? four_float32 : format == BFLOAT16 ? four_bfloat16 : four_int8)(p, first, last, n);
    else
        through_panels(p, first, last, n, scratch);
}

/* this thread's part of so many, in whole tiles */
INLINE void part(int64_t count, int64_t *first, int64_t *last) {
    int64_t blocks = (count + LONG * WIDE - 1) / (LONG * WIDE), t = omp_get_thread_num(), of = omp_get_num_threads();
    *first = blocks * t / of * LONG * WIDE, *last = blocks * (t + 1) / of * LONG * WIDE;
    if (*first > count) *first = count;
    if (*last > count) *last = count;
}

/* --- rows ------------------------------------------------------------------------------------------------------------- */

static float square_sum(const float *x, int64_t D) {
    vec sum = (vec){0};
    int64_t k = 0;
    for (; k + LANES <= D; k += LANES) sum = fused(*(const vec *)(x + k), *(const vec *)(x + k), sum);
    float s = total(sum);
    for (; k < D; k++) s = fmaf(x[k], x[k], s);
    return s;
}

static void normalise(const Norm *norm, const float *x, float *y, int64_t D) {
    if (norm->kind == NO_NORM) {
        if (x != y) memcpy(y, x, D * 4);
        return;
    }
    float mean = 0;
    if (norm->kind == LAYER) {
        vec sum = (vec){0};
        int64_t k = 0;
        for (; k + LANES <= D; k += LANES) sum += *(const vec *)(x + k);
        mean = total(sum);
        for (; k < D; k++) mean += x[k];
        mean /= D;
        for (k = 0; k < D; k++) y[k] = x[k] - mean;
        x = y;
    }
    float inverse = 1.0f / sqrtf(square_sum(x, D) / D + norm->eps);
    for (int64_t k = 0; k < D; k++) y[k] = x[k] * inverse * (norm->weight ? norm->weight[k] : 1.0f) + (norm->bias ? norm->bias[k] : 0.0f);
}

/* what a sublayer reads, (n, D): each thread has one row to itself; of several each makes some, and all wait */
static const float *before(const Frame *frame, const Pass *pass, const float *read, float *own) {
    const int64_t D = frame->width;
    if (frame->post || frame->norm.kind == NO_NORM) return read;
    if (pass->n == 1) {
        normalise(&frame->norm, read, own, D);
        return own;
    }
    for (int64_t j = omp_get_thread_num(); j < pass->n; j += omp_get_num_threads()) normalise(&frame->norm, read + j * D, pass->shared + j * D, D);
#pragma omp barrier
    return pass->shared;
}

static void after(const Frame *frame, const Pass *pass, float *stream) {
    const int64_t D = frame->width;
    if (!frame->post || frame->norm.kind == NO_NORM) return;
#pragma omp barrier
    for (int64_t j = omp_get_thread_num(); j < pass->n; j += omp_get_num_threads()) normalise(&frame->norm, stream + j * D, stream + j * D, D);
}

/* --- attention -------------------------------------------------------------------------------------------------------- */

/* normalise, turn, sharpen one head of queries or keys */
static void prepare(const Attention *a, float *head, int64_t which, int64_t position) {
    const int64_t H = a->head_width;
    if (a->scales) {
        float inverse = 1.0f / sqrtf(square_sum(head, H) / H + a->eps);
        for (int64_t i = 0; i < H; i++) head[i] *= inverse * a->scales[which * H + i];
    }
    if (a->turns) {
        const float *turn = a->turns + position * H;
        for (int64_t i = 0; i < H; i += 2) {
            float real = head[i] * turn[i] - head[i + 1] * turn[i + 1], other = head[i] * turn[i + 1] + head[i + 1] * turn[i];
            head[i] = real, head[i + 1] = other;
        }
    }
    if (a->sharpness != 0.0f) {
        float factor = a->sharpness / sqrtf(square_sum(head, H) / H + a->eps);
        for (int64_t i = 0; i < H; i++) head[i] *= factor;
    }
}

INLINE void fetch(const char *from, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
}

/* a row's heads [first, last) of keys, and of the queries that share them, over its slot's past; place by place, as they lie in memory */
INLINE void attend(const int format, const Attention *a, const Pass *pass, const void *kv, const float *q, float *y, int64_t row, int64_t first,
                   int64_t last, float *scores) {
    const int64_t H = a->head_width, G = a->kv_heads, R = a->heads / G, position = pass->positions[row], place = 2 * G * H;
    const int64_t from = a->window && position + 1 > a->window ? position + 1 - a->window : 0, count = position + 1 - from;
    const int64_t base = (pass->slots[row] * pass->capacity + from) * place, padded = (count + LANES - 1) / LANES * LANES, size = format == FLOAT32 ? 4 : 2;
    for (int64_t s = 0; s < count; s++)
        for (int64_t g = first; g < last; g++) {
            const int64_t at = base + s * place + g * H;
            fetch((const char *)kv + (at + AHEAD * place) * size, H * size);
            for (int64_t h = g * R; h < (g + 1) * R; h++) {
                vec sum = (vec){0};
                int64_t i = 0;
                for (; i + LANES <= H; i += LANES) sum = fused(*(const vec *)(q + h * H + i), load(format, kv, at + i), sum);
                float score = total(sum);
                for (; i < H; i++) score = fmaf(q[h * H + i], one(format, kv, at + i), score);
                score *= a->scale;
                if (a->softcap != 0.0f) score = a->softcap * tanhf(score / a->softcap);
                if (a->slopes) score -= a->slopes[h] * (float)(count - 1 - s);
                scores[(h - first * R) * padded + s] = score;
            }
        }
    for (int64_t h = first * R; h < last * R; h++) {
        float *own = scores + (h - first * R) * padded, most = -INFINITY;
        for (int64_t s = 0; s < count; s++) most = own[s] > most ? own[s] : most;
        for (int64_t s = count; s < padded; s++) own[s] = -INFINITY;
        vec sum = (vec){0};
        for (int64_t s = 0; s < padded; s += LANES) {
            vec e = exponential(*(const vec *)(own + s) - most);
            if (s + LANES > count)
                for (int i = 0; i < LANES; i++) e[i] = s + i < count ? e[i] : 0.0f;
            *(vec *)(own + s) = e;
            sum += e;
        }
        const float inverse = 1.0f / total(sum);
        for (int64_t s = 0; s < count; s++) own[s] *= inverse;
        for (int64_t i = 0; i < H; i++) y[h * H + i] = 0.0f;
    }
    for (int64_t s = 0; s < count; s++)
        for (int64_t g = first; g < last; g++) {
            const int64_t at = base + s * place + (G + g) * H;
            fetch((const char *)kv + (at + AHEAD * place) * size, H * size);
            for (int64_t h = g * R; h < (g + 1) * R; h++) {
                const float weight = scores[(h - first * R) * padded + s];
                float *out = y + h * H;
                int64_t i = 0;
                for (; i + LANES <= H; i += LANES) *(vec *)(out + i) = fused(all(weight), load(format, kv, at + i), *(vec *)(out + i));
                for (; i < H; i++) out[i] = fmaf(weight, one(format, kv, at + i), out[i]);
            }
        }
}

/* shared scratch: n rows of D, of qkv, of K H */
void attention(const Attention *a, const Pass *pass, void *kv, const float *read, float *stream) {
    const int64_t n = pass->n, K = a->heads, G = a->kv_heads, H = a->head_width, D = a->frame.width, X = (K + 2 * G) * H;
    float *const qkv = pass->shared + n * D, *const y = qkv + n * X;
#pragma omp parallel num_threads(pass->threads) if (pass->threads > 1)
    {
        float *const own = pass->scratch + omp_get_thread_num() * pass->floats;
        const float *x = before(&a->frame, pass, read, own);
        int64_t first, last;
        part(X, &first, &last);
        product(&(Product){&a->qkv, x, qkv, D, X, 0.0f, 1.0f}, first, last, n, own + D);
#pragma omp barrier
        for (int64_t task = omp_get_thread_num(); task < n * (K + G); task += omp_get_num_threads()) {
            const int64_t row = task / (K + G), head = task % (K + G), at = (pass->slots[row] * pass->capacity + pass->positions[row]) * 2 * G * H;
            float *q = qkv + row * X + head * H;
            prepare(a, q, head, pass->positions[row]);
            if (head < K) continue;
            const int64_t g = head - K;
            float *v = q + G * H;
            if (a->gate) {
                float s = 0;
                for (int i = 0; i < GATE_CHANNELS; i++) s += a->gate[g * GATE_CHANNELS + i] * x[row * D + i];
                s = 3.0f / (1.0f + expf(-s));
                for (int64_t i = 0; i < H; i++) v[i] += s * a->values[(pass->tokens[row] * G + g) * H + i];
            }
            if (pass->cache_format == FLOAT32) {
                memcpy((float *)kv + at + g * H, q, H * 4);
                memcpy((float *)kv + at + (G + g) * H, v, H * 4);
            } else
                for (int64_t i = 0; i < H; i++) {
                    ((uint16_t *)kv)[at + g * H + i] = to_bf16(q[i]);
                    ((uint16_t *)kv)[at + (G + g) * H + i] = to_bf16(v[i]);
                }
        }
#pragma omp barrier
        const int64_t t = omp_get_thread_num(), of = omp_get_num_threads(), end = n * G * (t + 1) / of;
        for (int64_t task = n * G * t / of, next; task < end; task = next) { /* neighbouring heads, row by row */
            const int64_t row = task / G, g = task % G;
            next = (row + 1) * G < end ? (row + 1) * G : end;
            if (pass->cache_format == FLOAT32)
                attend(FLOAT32, a, pass, kv, qkv + row * X, y + row * K * H, row, g, next - row * G, own);
            else
                attend(BFLOAT16, a, pass, kv, qkv + row * X, y + row * K * H, row, g, next - row * G, own);
        }
#pragma omp barrier
        part(D, &first, &last);
        product(&(Product){&a->out, y, stream, K * H, D, a->frame.alpha, a->frame.factor}, first, last, n, own);
        after(&a->frame, pass, stream);
    }
}

/* --- feed-forward, head ----------------------------------------------------------------------------------------------- */

INLINE void activate(const int function, const int gated, float *gate, const float *up, int64_t count) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        vec v = activation(function, *(vec *)(gate + i));
        if (gated) v *= *(const vec *)(up + i);
        *(vec *)(gate + i) = v;
    }
    if (i < count) {
        float rest[LANES] = {0};
        memcpy(rest, gate + i, (count - i) * 4);
        vec v = activation(function, *(vec *)rest);
        for (int64_t k = i; k < count; k++) gate[k] = gated ? v[k - i] * up[k] : v[k - i];
    }
}

/* shared scratch: n rows of D, of F (gated: 2 F) */
void feedforward(const Feedforward *f, const Pass *pass, const float *read, float *stream) {
    const int64_t n = pass->n, D = f->frame.width, F = f->down.inputs, X = f->up.outputs;
    float *const inner = pass->shared + n * D;
#pragma omp parallel num_threads(pass->threads) if (pass->threads > 1)
    {
        float *const own = pass->scratch + omp_get_thread_num() * pass->floats;
        const float *x = before(&f->frame, pass, read, own);
        int64_t first, last;
        part(F, &first, &last);
        const Product up = {&f->up, x, inner, D, X, 0.0f, 1.0f};
        product(&up, first, last, n, own + D);
        if (f->gated) product(&up, F + first, F + last, n, own + D);
        for (int64_t j = 0; j < n; j++) {
            float *gate = inner + j * X + first;
            const int64_t count = last - first;
            switch (f->function) {
            case RELU: activate(RELU, f->gated, gate, gate + F, count); break;
            case RELU2: activate(RELU2, f->gated, gate, gate + F, count); break;
            case GELU: activate(GELU, f->gated, gate, gate + F, count); break;
            case GELU_TANH: activate(GELU_TANH, f->gated, gate, gate + F, count); break;
            default: activate(SILU, f->gated, gate, gate + F, count);
            }
        }
#pragma omp barrier
        part(D, &first, &last);
        product(&(Product){&f->down, inner, stream, X, D, f->frame.alpha, f->frame.factor}, first, last, n, own);
        after(&f->frame, pass, stream);
    }
}

/* y (n, O) of the normalised stream, whose rows are `pass->n` */
void head(const Frame *frame, const Map *map, const Pass *pass, const float *read, float *y) {
#pragma omp parallel num_threads(pass->threads) if (pass->threads > 1)
    {
        float *const own = pass->scratch + omp_get_thread_num() * pass->floats;
        const float *x = before(frame, pass, read, own);
        int64_t first, last;
        part(map->outputs, &first, &last);
        product(&(Product){map, x, y, map->inputs, map->outputs, 0.0f, 1.0f}, first, last, pass->n, own + map->inputs);
    }
}
