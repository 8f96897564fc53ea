#include "part.hpp"

std::string word() { return "part"; }
