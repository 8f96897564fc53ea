#include <cstdlib>
#include <iostream>

#include "lib/part.hpp"

int main(int argc, char** argv) {
    std::cout << word() << ' ';
    for (int i = 1; i < argc; ++i) std::cout << (i > 1 ? "|" : "") << argv[i];
    std::cout << ' ' << std::getenv("GREETING") << '\n';
}
