complete -c pgexporter -s c -l config -d 'Set the path to the pgexporter.conf file' -r -F
complete -c pgexporter -s u -l users -d 'Set the path to the pgexporter_users.conf file' -r -F
complete -c pgexporter -s A -l admins -d 'Set the path to the pgexporter_admins.conf file' -r -F
complete -c pgexporter -s D -l directory -d 'Set the folder of the configuration files' -r -F
complete -c pgexporter -s Y -l yaml -d 'Add metrics from a YAML file or a folder' -r -F
complete -c pgexporter -s J -l json -d 'Add metrics from a JSON file or a folder' -r -F
complete -c pgexporter -s C -l collectors -d 'Run only these collectors' -r
complete -c pgexporter -s d -l daemon -d 'Run in the background'
complete -c pgexporter -s V -l version -d 'Display the version'
complete -c pgexporter -s ? -l help -d 'Display this help'
