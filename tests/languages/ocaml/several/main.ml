let () =
  let args = List.tl (Array.to_list Sys.argv) in
  Printf.printf "%s %s %s\n" (Part.word ()) (String.concat "|" args) (Sys.getenv "GREETING")
