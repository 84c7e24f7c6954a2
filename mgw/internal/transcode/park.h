// Codec state between two frames. A state is one piece of memory that may be copied (opus.h on opus_encoder and opus_decoder), and most of an
// encoder's is never used: analysis for settings that we do not have, the second channel, a coder for music. So only blocks that are not zero
// are kept, and the state is spread out for the time of a call in memory that all states of a worker share and that is zero in between.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Bytes; blocks that are looked at together; blocks that there is room for at first, as many as an encoder of speech uses, and how that grows.
enum { PARK_BLOCK = 64, PARK_WIDE = 4, PARK_FIRST = 104, PARK_GROW = 8 };

typedef uint64_t park_lane __attribute__((vector_size(16), may_alias));

typedef struct {
	int words;  // of map
	int blocks; // kept
	int room;   // for so many
	unsigned char *data;
	uint64_t map[]; // a bit per block of the state: it is kept
} park_state;

// park_words is the length of the map for a state of so many bytes.
static inline int park_words(int size) { return (size + 64 * PARK_BLOCK - 1) / (64 * PARK_BLOCK); }

static inline park_state *park_new(int size) {
	park_state *p = calloc(1, sizeof *p + park_words(size) * sizeof(uint64_t));
	if (p) p->words = park_words(size);
	return p;
}

static inline void park_free(park_state *p) {
	free(p->data);
	free(p);
}

// park_spread writes the state to wide, which is zero and has words*64 blocks.
static inline void park_spread(const park_state *p, unsigned char *wide) {
	const unsigned char *from = p->data;
	for (int w = 0; w < p->words; w++, wide += 64 * PARK_BLOCK)
		for (uint64_t m = p->map[w]; m; m &= m - 1, from += PARK_BLOCK)
			memcpy(wide + __builtin_ctzll(m) * PARK_BLOCK, from, PARK_BLOCK);
}

static inline int park_used(const unsigned char *b, int blocks) {
	const park_lane *l = (const park_lane *)b;
	park_lane any = l[0];
	for (int i = 1; i < blocks * PARK_BLOCK / 16; i++) any |= l[i];
	return (any[0] | any[1]) != 0;
}

// park_room makes room for one more block; 0: there is no memory.
static inline int park_room(park_state *p) {
	if (p->blocks < p->room) return 1;
	int room = p->room ? p->room + PARK_GROW : PARK_FIRST;
	unsigned char *more = realloc(p->data, room * PARK_BLOCK);
	if (!more) return 0;
	p->data = more;
	p->room = room;
	return 1;
}

// park_keep keeps what wide holds, which is zero after that. 0: there is no memory, the state is lost.
static inline int park_keep(park_state *p, unsigned char *wide) {
	int kept = 1;
	p->blocks = 0;
	for (int w = 0; w < p->words; w++) {
		p->map[w] = 0;
		for (int i = 0; i < 64; i += PARK_WIDE, wide += PARK_WIDE * PARK_BLOCK) {
			if (!park_used(wide, PARK_WIDE)) continue;
			for (int k = 0; k < PARK_WIDE; k++) {
				unsigned char *b = wide + k * PARK_BLOCK;
				if (!park_used(b, 1)) continue;
				if (kept && (kept = park_room(p))) {
					memcpy(p->data + p->blocks++ * PARK_BLOCK, b, PARK_BLOCK);
					p->map[w] |= (uint64_t)1 << (i + k);
				}
				memset(b, 0, PARK_BLOCK);
			}
		}
	}
	return kept;
}
