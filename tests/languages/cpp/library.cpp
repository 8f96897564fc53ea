#include <bits/stdc++.h>
#include <unistd.h>

int main() {
    std::atomic<int> total{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 10; ++i) threads.emplace_back([&] { ++total; });
    for (auto& thread : threads) thread.join();
    std::cout << "threads " << total << '\n';
    auto later = std::async(std::launch::async, [] { return 36; });
    std::cout << "async " << later.get() << std::endl;
    char word[16] = "";
    FILE* child = popen("echo child", "r");
    if (std::fscanf(child, "%15s", word) != 1 || pclose(child) != 0) return 1;
    std::cout << "subprocess " << word << '\n';
    const auto folder = std::filesystem::temp_directory_path() / "notes";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "note") << "kept";
    std::ifstream(folder / "note") >> word;
    std::cout << "tempfile " << word << '\n';
    std::mt19937 random(1);
    std::vector<int> numbers(1000);
    std::iota(numbers.begin(), numbers.end(), 0);
    std::shuffle(numbers.begin(), numbers.end(), random);
    std::sort(numbers.begin(), numbers.end());
    std::cout << "sorted " << std::regex_match("a1", std::regex("[a-z][0-9]")) << ' ' << numbers[999] << '\n';
}
