#include "part.h"

const char *word(void) { return "part"; }
