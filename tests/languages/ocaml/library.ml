let () =
  let total = ref 0 and lock = Mutex.create () in
  let add () =
    Mutex.lock lock;
    incr total;
    Mutex.unlock lock
  in
  List.init 10 (fun _ -> Thread.create add ()) |> List.iter Thread.join;
  Printf.printf "threads %d\n%!" !total;
  let child = Unix.open_process_in "echo child" in
  Printf.printf "subprocess %s\n%!" (input_line child);
  ignore (Unix.close_process_in child);
  (match Unix.fork () with
  | 0 -> Unix._exit 7
  | pid -> (
      match Unix.waitpid [] pid with
      | _, Unix.WEXITED code -> Printf.printf "fork %d\n" code
      | _ -> print_endline "fork ended oddly"));
  let name = Filename.temp_file "note" ".txt" in
  let out = open_out name in
  output_string out "kept";
  close_out out;
  Printf.printf "tempfile %s\n" (input_line (open_in name));
  Printf.printf "str %s\n" (Str.global_replace (Str.regexp "[0-9]+") "#" "a12b3");
  Printf.printf "digest %s\n" (String.sub (Digest.to_hex (Digest.string "x")) 0 8);
  let rec deep n = if n = 0 then 0 else 1 + deep (n - 1) in
  Printf.printf "deep %d\n" (deep 1_000_000);
  Unix.sleepf 0.005
